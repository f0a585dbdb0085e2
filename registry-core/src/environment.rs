//! Time and chance, which come in from outside so that a test can replay them.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{ErrorKind, Result};

/// Tells the time of day.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. It may jump in either direction.
    fn now(&self) -> SystemTime;
}

/// Gives bytes that nobody can predict.
pub trait Randomness: fmt::Debug + Send + Sync + 'static {
    /// Sixteen fresh bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if there are
    /// none to be had.
    fn bytes(&self) -> Result<[u8; 16]>;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The random number generator of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn bytes(&self) -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|source| {
            ErrorKind::Unavailable
                .error("the system gives no random numbers; try again later")
                .with_source(source)
        })?;
        Ok(bytes)
    }
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

impl<T: Randomness + ?Sized> Randomness for Arc<T> {
    fn bytes(&self) -> Result<[u8; 16]> {
        (**self).bytes()
    }
}
