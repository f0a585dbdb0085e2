//! Driving a running registry from outside.
//!
//! * [`Launch`] and [`Server`]: the real binary on a free port and a root of its own, stopped with SIGTERM or SIGKILL.
//! * [`tool`] and [`Tool`]: programs that may be missing, run with a time limit and shown with all they printed.
//! * [`Api`]: bare requests, to check what a client left behind without trusting another client.
//! * [`silence`]: what a server of any test logged is searched for secrets when it ends.
//! * [`cache_dir`]: where installed tools and content made once are kept, outside the source tree.
//!
//! Everything here panics when a step fails: the message is the test's result.

mod api;
mod process;
mod server;
pub mod silence;
mod tool;

pub use api::{Answer, Api};
pub use process::Process;
pub use server::{Launch, Server, Stopped, binary, program, rebuild};
pub use tool::{Output, Tool, cache_dir, is_root, not_run, say_not_run, tool};
