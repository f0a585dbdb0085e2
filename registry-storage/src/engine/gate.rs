//! What a gate is asked before something changes.
//!
//! What it is told of tags is required of the commit, so that it has decided about
//! what happens then, and is asked again if others were faster.

use registry_core::{Access, Admission, Digest, Error, ErrorKind, Result, Tag};

use super::Engine;
use crate::Requirement;

/// The most tags that a gate is asked about because of one deletion. A batch names
/// each of them.
pub(super) const MAX_TAGS: usize = 10_000;

/// How many tags are read at once.
const STEP: usize = 256;

impl Engine {
    pub(super) fn is_gated(&self) -> bool {
        self.inner.gate.is_some()
    }

    pub(super) async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()> {
        match &self.inner.gate {
            Some(gate) => gate.admit(access, admission).await,
            None => Ok(()),
        }
    }

    /// Asks about the tags that go with a manifest.
    pub(super) async fn admit_removals(
        &self,
        access: &Access,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<()> {
        for tag in tags {
            let admission = Admission::RemoveTag { tag, digest };
            self.admit(access, admission).await?;
        }
        Ok(())
    }

    /// Asks about a repository that goes with all its tags. Returns what is so then:
    /// that there are these tags and no others.
    pub(super) async fn admit_end(&self, access: &Access) -> Result<Vec<Requirement>> {
        if !self.is_gated() {
            return Ok(Vec::new());
        }
        self.admit(access, Admission::DeleteRepository).await?;
        let repository = access.repository();
        let mut require = Vec::new();
        let mut after: Option<Tag> = None;
        loop {
            let from = after.as_ref().map(Tag::as_str);
            let step = self.metadata().tags(repository, from, STEP).await?;
            let step = step.unwrap_or_default();
            if require.len().saturating_add(step.len()) > MAX_TAGS {
                return Err(too_many_tags());
            }
            for (tag, record) in &step {
                let digest = record.digest;
                self.admit_removals(access, &digest, std::slice::from_ref(tag))
                    .await?;
                require.push(Requirement::TagIs {
                    repository: repository.clone(),
                    tag: tag.clone(),
                    digest,
                });
            }
            if step.len() < STEP {
                break;
            }
            after = step.into_iter().last().map(|(tag, _)| tag);
        }
        require.push(Requirement::TagsAtMost {
            repository: repository.clone(),
            tags: require.len() as u64,
        });
        Ok(require)
    }
}

pub(super) fn too_many_tags() -> Error {
    ErrorKind::Denied.error(
        "too many tags would go at once to ask about each of them; delete some of them first",
    )
}
