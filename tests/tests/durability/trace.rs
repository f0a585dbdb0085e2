//! What `strace` saw of a server: which file was written and synced when.

use std::collections::HashMap;
use std::path::Path;

/// The system calls that matter, so that the others cost nothing.
pub(crate) const CALLS: &str = "trace=openat,?mkdir,mkdirat,pwrite64,pwritev,fsync,fdatasync,linkat,rename,renameat,renameat2,write,writev,sendto,sendmsg";

/// A system call, from the line where it begins to the line where it ends.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    name: String,
    /// Its arguments, with paths in place of descriptors, and its result.
    text: String,
    begun: usize,
    ended: usize,
}

/// The calls that succeeded, in the order in which they began.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Vec<Call>);

impl Trace {
    /// Reads the output of `strace -f -yy`.
    pub(crate) fn parse(output: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut open: HashMap<&str, usize> = HashMap::new();
        for (number, line) in output.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if let Some(resumed) = call.strip_prefix("<... ") {
                let index = open.remove(thread);
                if let Some(call) = index.and_then(|index| calls.get_mut(index)) {
                    call.text.push_str(resumed);
                    call.ended = number;
                }
                continue;
            }
            let Some((name, text)) = call.split_once('(') else {
                continue;
            };
            let unfinished = text.ends_with("<unfinished ...>");
            if unfinished {
                open.insert(thread, calls.len());
            }
            calls.push(Call {
                name: name.to_owned(),
                text: text.to_owned(),
                begun: number,
                ended: if unfinished { usize::MAX } else { number },
            });
        }
        calls.retain(|call| call.ended != usize::MAX && !call.text.contains(" = -1 "));
        Self(calls)
    }

    /// The same without the calls that `dropped` chooses.
    pub(crate) fn without(&self, dropped: impl Fn(&str, &str) -> bool) -> Self {
        let calls = self.0.iter();
        let kept = calls.filter(|call| !dropped(&call.name, &call.text));
        Self(kept.cloned().collect())
    }

    /// The digests in all answers that say 201.
    pub(crate) fn acknowledged(&self) -> Vec<String> {
        let answers = self.0.iter().filter(|call| is_created(call));
        let digest = |call: &Call| {
            let (_, rest) = call.text.split_once("docker-content-digest: ")?;
            Some(rest.get(..71)?.to_owned())
        };
        answers.filter_map(digest).collect()
    }

    /// Whether all that makes content durable happened, in order, before the answer that acknowledged it.
    ///
    /// Bytes, then their name, then the change log, then the database: each step begins when the one before has ended.
    pub(crate) fn proof(&self, digest: &str) -> Result<(), String> {
        let hex = digest.strip_prefix("sha256:").ok_or("not a digest")?;
        let fan_out = format!("blobs/sha256/{}", hex.get(..2).ok_or("no digest")?);
        let missing = |step: &str| format!("{digest}: no {step} in time");

        let answer = self
            .first(0, |call| is_created(call) && call.text.contains(digest))
            .ok_or_else(|| missing("answer"))?;
        let link = self
            .first(0, |call| {
                let names = call.name == "linkat" || call.name.starts_with("rename");
                names && call.text.contains(hex)
            })
            .ok_or_else(|| missing("name"))?;
        let file = named_file(&link.text).ok_or("a name without a file")?;
        // Looked for backwards, since the number of an unnamed file that is gone may come again.
        let concerns = |call: &Call| first_path(&call.text) == Some(&file);
        let synced = self
            .last(link.begun, |call| is_sync(call) && concerns(call))
            .ok_or_else(|| missing("sync of the file"))?;
        let written = self.last(link.begun, |call| is_write(call) && concerns(call));
        let written = written.map_or(0, |write| write.ended);
        if written > synced.begun || synced.ended > link.begun {
            return Err(format!("{digest}: named before its bytes were durable"));
        }
        let named = self
            .first(link.ended, |call| {
                is_sync(call) && path_ends(&call.text, &fan_out)
            })
            .ok_or_else(|| missing("sync of the directory"))?;
        let logged = self
            .first(named.ended, |call| {
                is_sync(call) && path_ends(&call.text, ".log")
            })
            .ok_or_else(|| missing("sync of the change log"))?;
        let committed = self
            .first(logged.ended, |call| {
                is_sync(call) && path_ends(&call.text, "metadata.redb")
            })
            .ok_or_else(|| missing("sync of the database"))?;
        if committed.ended > answer.begun {
            return Err(format!("{digest}: acknowledged before it was durable"));
        }
        // A directory that came into being for it has a name of its own to keep.
        let made = self.first(0, |call| {
            call.name == "mkdirat" && call.text.contains(&fan_out)
        });
        if let Some(made) = made {
            let kept = self
                .first(made.ended, |call| {
                    is_sync(call) && path_ends(&call.text, "blobs/sha256")
                })
                .ok_or_else(|| missing("sync of the parent directory"))?;
            if kept.ended > answer.begun {
                return Err(format!(
                    "{digest}: acknowledged before its directory was durable"
                ));
            }
        }
        Ok(())
    }

    /// Whether the first file of the change log had a durable name before anything was acknowledged.
    pub(crate) fn log_is_named(&self, root: &str) -> Result<(), String> {
        let made = self
            .first(0, |call| {
                call.name == "openat"
                    && call.text.contains("O_CREAT")
                    && call.text.contains(".log\"")
            })
            .ok_or("no change log was made")?;
        let named = self
            .first(made.ended, |call| {
                is_sync(call) && path_ends(&call.text, root)
            })
            .ok_or("the root was never synced")?;
        let answer = self
            .first(0, is_created)
            .ok_or("nothing was acknowledged")?;
        if named.ended < answer.begun {
            Ok(())
        } else {
            Err("acknowledged before the change log had a name".to_owned())
        }
    }

    /// Whether a directory was made, and its name durable, before anything was made in it.
    pub(crate) fn directory_is_named(&self, directory: &Path) -> Result<(), String> {
        let name = format!("\"{}\"", directory.display());
        let inside = format!("\"{}/", directory.display());
        let parent = directory.parent().map(|parent| parent.to_string_lossy());
        let made = self
            .first(0, |call| {
                call.name.starts_with("mkdir") && call.text.contains(&name)
            })
            .ok_or_else(|| format!("{name} was never made"))?;
        let named = self
            .first(made.ended, |call| {
                is_sync(call) && first_path(&call.text) == parent.as_deref()
            })
            .ok_or_else(|| format!("the directory of {name} was never synced"))?;
        match self.first(made.ended, |call| call.text.contains(&inside)) {
            Some(used) if used.begun < named.ended => Err(format!("{name} was used too early")),
            _ => Ok(()),
        }
    }

    /// The last call that begins before a line.
    fn last(&self, before: usize, wanted: impl Fn(&Call) -> bool) -> Option<&Call> {
        let calls = self.0.iter().rev();
        calls
            .filter(|call| call.begun < before)
            .find(|call| wanted(call))
    }

    /// The first call that begins after a line.
    fn first(&self, after: usize, wanted: impl Fn(&Call) -> bool) -> Option<&Call> {
        let calls = self.0.iter();
        calls
            .filter(|call| call.begun >= after)
            .find(|call| wanted(call))
    }
}

fn is_write(call: &Call) -> bool {
    call.name.starts_with("pwrite")
}

fn is_sync(call: &Call) -> bool {
    call.name == "fsync" || call.name == "fdatasync"
}

fn is_created(call: &Call) -> bool {
    let sends = matches!(
        call.name.as_str(),
        "write" | "writev" | "sendto" | "sendmsg"
    );
    sends && call.text.contains("HTTP/1.1 201 ")
}

/// The path of the file that is given a name: of a descriptor, or below one.
fn named_file(text: &str) -> Option<String> {
    let directory = first_path(text)?;
    let name = text.split('"').nth(1)?;
    if name.is_empty() {
        Some(directory.to_owned())
    } else {
        Some(format!("{directory}/{name}"))
    }
}

/// The path of the descriptor that comes first, as in `17</root/staging/#4711>(deleted), …`.
fn first_path(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('<')?;
    Some(rest.split_once('>')?.0)
}

fn path_ends(text: &str, end: &str) -> bool {
    first_path(text).is_some_and(|path| path.ends_with(end))
}
