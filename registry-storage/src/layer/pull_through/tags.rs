//! Where tags point to: upstream if it can be asked, and here otherwise.

use std::error::Error as _;

use registry_core::{
    Access, Deletion, Descriptor, Digest, Error, ErrorKind, Manifest, Precondition, Reference,
    Registry, Result, Tag,
};

use super::{PullThrough, is_outage};

/// How often the upstream is asked about a tag that others move meanwhile.
const ATTEMPTS: u32 = 3;

/// The tag that a manifest was asked for by, and where it pointed to before.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) tag: Tag,
    pub(super) seen: Precondition,
}

impl<L: Registry + Clone, U: Registry> PullThrough<L, U> {
    /// Where a tag points to upstream, once that is kept under it; where it is
    /// kept to point to, if the upstream can't be asked. With the manifest if
    /// it is at hand.
    ///
    /// Of two answers that others got meanwhile, nothing tells which is newer,
    /// so the upstream is asked again.
    pub(super) async fn follow(
        &self,
        access: &Access,
        tag: &Tag,
    ) -> Result<(Descriptor, Option<Manifest>)> {
        for _ in 1..ATTEMPTS {
            let (found, has_moved) = self.follow_once(access, tag).await?;
            if !has_moved {
                return Ok(found);
            }
        }
        Ok(self.follow_once(access, tag).await?.0)
    }

    /// The same, and whether the kept tag moved under way.
    async fn follow_once(
        &self,
        access: &Access,
        tag: &Tag,
    ) -> Result<((Descriptor, Option<Manifest>), bool)> {
        let reference = &Reference::Tag(tag.clone());
        // What is kept is looked at first, so that it is noticed if it moves
        // while the upstream is asked.
        let seen = match self.local().resolve(access, reference).await {
            Ok(kept) => Precondition::Is(kept.digest),
            // The tag of a damaged manifest is there.
            Err(error) if is_gone(&error) && error.source().is_none() => Precondition::Absent,
            Err(_) => Precondition::None,
        };
        let asked = &Asked {
            tag: tag.clone(),
            seen,
        };
        let found = match self.upstream().resolve(access, reference).await {
            Ok(found) => found,
            Err(error) if is_outage(&error) => {
                let kept = self.local().resolve(access, reference).await;
                let kept = kept.map_err(|_| error)?;
                served_instead(access, tag);
                return Ok(((kept, None), false));
            }
            Err(error) => {
                if is_gone(&error) {
                    self.forget(access, asked).await;
                }
                return Err(error);
            }
        };
        if self.keeps(access, reference, &found.digest).await {
            return Ok(((found, None), false));
        }
        match self.manifest(access, found.digest, Some(asked)).await {
            Ok(manifest) => {
                let has_moved = !self.keeps(access, reference, &found.digest).await
                    && self.keep_manifest(access, &manifest, Some(asked)).await;
                Ok(((found, Some(manifest)), has_moved))
            }
            Err(error) if is_outage(&error) => {
                match self.local().resolve(access, reference).await {
                    Ok(kept) => {
                        served_instead(access, tag);
                        Ok(((kept, None), false))
                    }
                    Err(_) => Ok(((found, None), false)),
                }
            }
            Err(_) => Ok(((found, None), false)),
        }
    }

    /// Whether the kept tag points to `digest`.
    async fn keeps(&self, access: &Access, tag: &Reference, digest: &Digest) -> bool {
        let kept = self.local().resolve(access, tag).await;
        kept.is_ok_and(|kept| kept.digest == *digest)
    }

    /// Forgets a tag that the upstream no longer has, unless somebody kept
    /// another answer meanwhile.
    async fn forget(&self, access: &Access, asked: &Asked) {
        let expected = match asked.seen {
            Precondition::Is(digest) => Some(digest),
            Precondition::Absent => return,
            Precondition::None => None,
        };
        let gone = Deletion::Tag {
            tag: asked.tag.clone(),
            expected,
        };
        match self.local().delete(&Self::keeper(access), gone).await {
            Err(error) if error.kind() == ErrorKind::PreconditionFailed || is_gone(&error) => {}
            Err(error) => {
                tracing::warn!(repository = %access.repository(), tag = %asked.tag, %error,
                    "a tag that is gone upstream is still kept");
            }
            Ok(()) => {}
        }
    }
}

fn served_instead(access: &Access, tag: &Tag) {
    tracing::warn!(repository = %access.repository(), %tag,
        "the upstream doesn't answer; the kept copy is served");
}

/// Whether a registry says that there is no such manifest.
fn is_gone(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ManifestUnknown | ErrorKind::NameUnknown
    )
}
