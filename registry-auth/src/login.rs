//! The embedding program's own login.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use registry_core::{Error, Result};

use crate::{Authenticator, Caller, Credentials, Principal, Secret};

/// Checks user names and passwords by a function.
///
/// The function gets both and answers whether they are right, or who that is.
/// It abstains where they aren't, so that another authenticator may know them.
/// It isn't asked about somebody who [guesses](crate::GuardLimits).
///
/// ```
/// use registry_auth::{Login, Principal};
///
/// let by_database = Login::new(|user, password| async move {
///     // ... ask the program's own users
///     let right = password.matches("a secret");
///     right.then(|| Principal::new(user).member_of("developers"))
/// });
/// # let _ = by_database;
/// ```
pub struct Login<F>(F);

impl<F, Answer> Login<F>
where
    F: Fn(String, Secret) -> Answer + Send + Sync + 'static,
    Answer: Future<Output: LoginAnswer> + Send,
{
    /// Asks `check`.
    pub fn new(check: F) -> Self {
        Self(check)
    }
}

/// What a login function may answer: `bool`, `Option<Principal>`, or either in
/// a `Result`.
pub trait LoginAnswer {
    /// Who `user` turned out to be.
    ///
    /// # Errors
    ///
    /// Any error: the question can't be answered.
    fn principal(self, user: &str) -> Result<Option<Principal>>;
}

impl LoginAnswer for bool {
    fn principal(self, user: &str) -> Result<Option<Principal>> {
        Ok(self.then(|| Principal::new(user)))
    }
}

impl LoginAnswer for Option<Principal> {
    fn principal(self, _: &str) -> Result<Option<Principal>> {
        Ok(self)
    }
}

impl<A: LoginAnswer> LoginAnswer for Result<A, Error> {
    fn principal(self, user: &str) -> Result<Option<Principal>> {
        self.and_then(|answer| answer.principal(user))
    }
}

#[async_trait]
impl<F, Answer> Authenticator for Login<F>
where
    F: Fn(String, Secret) -> Answer + Send + Sync + 'static,
    Answer: Future<Output: LoginAnswer> + Send,
{
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        caller.admit()?;
        let answer = (self.0)(user.clone(), password.clone()).await;
        answer.principal(user)
    }
}

impl<F> fmt::Debug for Login<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}
