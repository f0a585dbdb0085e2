//! What an owner asks of the engine.

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{
    Access, Action, CatalogAccess, Damage, Digest, Epochs, ErrorKind, Management, Page,
    PageRequest, RepositoryEpoch, RepositoryName, Result, Usage,
};

use super::{COMMIT_TRIES, Engine, contended, gone, same_repository};
use crate::{Batch, BlobState, Change, CommitError, Finding, Requirement};

/// How many records are read at once.
const STEP: usize = 256;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Management for Engine {
    async fn usage(
        &self,
        access: &CatalogAccess,
        repository: Option<&RepositoryName>,
    ) -> Result<Usage> {
        if let Some(name) = repository {
            let record = self.metadata().repository(name).await?;
            return record
                .filter(|_| access.permits(name))
                .map(|record| record.usage)
                .ok_or_else(|| ErrorKind::NameUnknown.error("there is no such repository"));
        }
        let mut total = Usage::default();
        let mut after: Option<RepositoryName> = None;
        loop {
            let after_text = after.as_ref().map(RepositoryName::as_str);
            let step = self.metadata().repositories(after_text, STEP).await?;
            for repository in &step {
                if access.permits(&repository.name) {
                    total = sum(total, repository.usage);
                }
            }
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
            match step.last() {
                Some(last) if step.len() == STEP => after = Some(last.name.clone()),
                _ => return Ok(total),
            }
        }
    }

    async fn delete_repository(&self, access: &Access) -> Result<()> {
        access.require(Action::Administer)?;
        let unknown = || ErrorKind::NameUnknown.error("there is no such repository");
        let name = access.repository();
        let record = self.metadata().repository(name).await?;
        let identity = record.ok_or_else(unknown)?.identity;
        for _ in 0..COMMIT_TRIES {
            // One that is created meanwhile isn't meant.
            let mut require: Vec<_> = same_repository(access).into_iter().collect();
            require.push(Requirement::RepositoryIs {
                repository: name.clone(),
                identity,
            });
            require.extend(self.admit_end(access).await?);
            let batch = Batch {
                require,
                changes: vec![Change::DeleteRepository {
                    repository: name.clone(),
                    at: self.now(),
                }],
                durable: true,
            };
            match self.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict(Requirement::RepositoryIs { .. })) => {
                    return Err(unknown());
                }
                Err(CommitError::Conflict(Requirement::EpochIs { .. })) => return Err(gone()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Refused(error) | CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    async fn verify(&self, access: &CatalogAccess, page: PageRequest) -> Result<Page<Damage>> {
        if !access.is_unlimited() {
            return Err(ErrorKind::Denied.error("only somebody who sees everything may verify"));
        }
        let limit = page.limit.unwrap_or(STEP).min(self.options().max_page);
        let after = match &page.after {
            Some(after) => Some(after.parse::<Digest>().map_err(|_| {
                ErrorKind::PageInvalid.error("the position is not a digest; follow the page before")
            })?),
            None => None,
        };
        let records = self.metadata().contents(after.as_ref(), limit).await?;
        let next = records
            .last()
            .filter(|_| records.len() == limit)
            .map(|record| record.key.digest.to_string());
        let mut items = Vec::new();
        let read = Arc::default();
        for record in records {
            if record.state != BlobState::Live {
                continue;
            }
            let reason = match self.hash_again(&record, &read).await? {
                Finding::Whole => continue,
                Finding::Damaged(reason) | Finding::Unreadable(reason) => reason,
                Finding::Missing | Finding::Unreferenced => "the stored bytes are missing".into(),
            };
            items.push(Damage {
                digest: record.key.digest,
                reason,
            });
        }
        Ok(Page { items, next })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Epochs for Engine {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        self.metadata().epoch(repository).await
    }
}

fn sum(total: Usage, one: Usage) -> Usage {
    Usage {
        repositories: total.repositories.saturating_add(one.repositories),
        blobs: total.blobs.saturating_add(one.blobs),
        manifests: total.manifests.saturating_add(one.manifests),
        tags: total.tags.saturating_add(one.tags),
        bytes: total.bytes.saturating_add(one.bytes),
    }
}
