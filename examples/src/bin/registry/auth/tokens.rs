//! The end of tokens before their time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use registry_auth::{Keys, Principal, PrincipalKind, SigningAlgorithm, TokenServer};
use registry_core::{Clock, ErrorKind, PageRequest, Result, SystemClock};
use serde_json::{Value, json};

use super::place::{Users, require};
use super::{answer_with, asked};
use crate::command_line::TokenCommand;
use crate::problem::Failure;
use crate::runtime;
use crate::setup;

/// Does what `registry auth token` is told to.
pub(super) fn token(command: TokenCommand) -> Result<ExitCode, Failure> {
    let runtime = runtime::current_thread()?;
    let (place, done) = match command {
        TokenCommand::Rotate {
            now,
            keys,
            algorithm,
            place,
        } => {
            let keys = match keys {
                Some(keys) => keys,
                None => place.data()?.token_keys(),
            };
            require(&keys)?;
            let done = runtime.block_on(rotate(keys, &algorithm, now))?;
            (place, done)
        }
        TokenCommand::Revoke { who, place, .. } => {
            let holder = who.as_deref().map(holder).transpose()?;
            // Noted, where nobody has any yet.
            let data = place.new_data()?;
            let users = runtime.block_on(async { data.users() });
            let done = runtime.block_on(revoke(holder, &data.root, users.as_ref()))?;
            (place, done)
        }
    };
    let answer = if place.json {
        format!("{:#}\n", done.document)
    } else {
        format!("{}\n", done.sentence)
    };
    answer_with(&answer, true)
}

/// What was done, for people and for programs.
struct Done {
    sentence: String,
    document: Value,
}

async fn rotate(keys: PathBuf, algorithm: &str, replaces: bool) -> Result<Done> {
    let algorithm = match algorithm {
        "eddsa" => SigningAlgorithm::EdDsa,
        _ => SigningAlgorithm::Es256,
    };
    let (shown, now) = (keys.display().to_string(), SystemClock.now());
    let server = TokenServer::open_with(keys, algorithm)?;
    let sentence = if replaces {
        server.replace_keys(now).await?;
        format!(
            "{shown}: another key signs in place of all others, and every bearer token given out \
             before is refused; refresh tokens stay good, which `registry auth token revoke --all` \
             ends"
        )
    } else {
        server.rotate(now).await?;
        format!(
            "{shown}: another key signs in ten minutes; tokens given out before stay good as long \
             as they would have"
        )
    };
    Ok(Done {
        sentence,
        document: json!({"keys": shown, "replaced": replaces}),
    })
}

fn holder(who: &str) -> Result<Principal, Failure> {
    asked::who(who)?.ok_or_else(|| {
        let reason = "nobody in particular holds no tokens; name who does";
        Failure::usage(&ErrorKind::RequestInvalid.error(reason))
    })
}

/// Ends the tokens of `holder`, or of everybody. These are the users of the
/// configuration, if one was named that says so.
async fn revoke(holder: Option<Principal>, root: &Path, users: Option<&Users>) -> Result<Done> {
    let (records, now) = (Arc::new(setup::records(root)?), SystemClock.now());
    let keys = Keys::new(Arc::clone(&records));
    let server = TokenServer::ephemeral()?.records(records);
    let Some(holder) = holder else {
        let ended = server.revoke_everybodys(now).await?;
        return Ok(Done {
            sentence: format!("all tokens of everybody were ended; {}", counted(ended)),
            document: json!({"everybody": true, "refresh_tokens": ended}),
        });
    };
    let ended = server.revoke_all(&holder, now).await?;
    let known = if ended > 0 {
        Some(true)
    } else {
        knows(&keys, &holder, users).await?
    };
    let is_user = holder.kind() == PrincipalKind::User && known != Some(true);
    let has_namesake = is_user && keys.robot(holder.name()).await?.is_some();
    let namesake = format!(
        "; there is a robot of this name, whose tokens weren't: write `robot {}` for it",
        holder.name()
    );
    let doubt = match (holder.kind(), known) {
        _ if has_namesake => &*namesake,
        (_, Some(true)) => "",
        (PrincipalKind::Robot, _) => {
            "; there is no such robot here, so it was only noted that none are good: check the name"
        }
        (_, Some(false)) => {
            "; no user is called so in the password file, so it was only noted that none are good: \
             check the name"
        }
        (PrincipalKind::Workload, _) => "; jobs are known to their issuer alone: check the name",
        // Who is a user is known to others.
        _ => {
            "; whether there is such a user isn't seen here, but in the password file or the \
             directory"
        }
    };
    Ok(Done {
        sentence: format!(
            "all tokens of {holder} were ended; {}{doubt}",
            counted(ended)
        ),
        document: json!({
            "who": holder.to_string(),
            "kind": match holder.kind() {
                PrincipalKind::Robot => "robot",
                PrincipalKind::Workload => "workload",
                _ => "user",
            },
            "known": known,
            "refresh_tokens": ended,
        }),
    })
}

/// Whether there is somebody called so, as far as that can be seen here.
async fn knows(keys: &Keys, holder: &Principal, users: Option<&Users>) -> Result<Option<bool>> {
    match holder.kind() {
        PrincipalKind::Robot => Ok(Some(keys.robot(holder.name()).await?.is_some())),
        PrincipalKind::User => {
            let found = keys.list(holder, PageRequest::first(1)).await?;
            let has_key = !found.items.is_empty();
            Ok(match users {
                _ if has_key => Some(true),
                Some(users) if users.names.contains(holder.name()) => Some(true),
                Some(users) if users.are_all => Some(false),
                _ => None,
            })
        }
        _ => Ok(None),
    }
}

fn counted(refresh_tokens: usize) -> String {
    match refresh_tokens {
        0 => "no refresh token was among them".to_owned(),
        1 => "a refresh token was among them".to_owned(),
        number => format!("{number} refresh tokens were among them"),
    }
}
