//! The end of tokens before their time.

use std::process::ExitCode;

use registry_auth::{Principal, SigningAlgorithm, TokenServer};
use registry_core::{Clock, ErrorKind, Result, SystemClock};

use super::answer_with;
use super::robots::require;
use crate::command_line::TokenCommand;
use crate::problem::Failure;
use crate::runtime;
use crate::setup;

/// Does what `registry auth token` is told to.
pub(super) fn token(command: TokenCommand) -> Result<ExitCode, Failure> {
    let runtime = runtime::current_thread()?;
    let now = SystemClock.now();
    runtime.block_on(async {
        match command {
            TokenCommand::Rotate {
                now: at_once,
                keys,
                algorithm,
                root,
            } => {
                let keys = keys.unwrap_or_else(|| root.join(setup::TOKEN_KEYS));
                require(&keys)?;
                let algorithm = match algorithm.as_str() {
                    "eddsa" => SigningAlgorithm::EdDsa,
                    _ => SigningAlgorithm::Es256,
                };
                let server = TokenServer::open_with(keys, algorithm)?;
                if at_once {
                    server.replace_keys(now).await
                } else {
                    server.rotate(now).await
                }
            }
            TokenCommand::Revoke { who, root } => {
                require(&root)?;
                let holder = Principal::called(&who).ok_or_else(|| {
                    ErrorKind::RequestInvalid
                        .error("nobody in particular holds no tokens; name who does")
                })?;
                let server = TokenServer::ephemeral()?.records(setup::records(&root)?);
                server.revoke_all(&holder, now).await
            }
        }
    })?;
    answer_with("", true)
}
