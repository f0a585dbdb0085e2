//! The recipes of `docs/access-control.md` do what they say: each is a shell session in an empty directory, with the
//! files it shows, and prints what it shows.

#![allow(clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::fmt::Write;
use std::net::TcpListener;

use registry_tests::harness::{Tool, binary, tool};

const PAGE: &str = include_str!("../../docs/access-control.md");

/// Where the server listens in the recipes, and where what they start besides.
const ADDRESSES: [&str; 2] = ["127.0.0.1:5000", "127.0.0.1:5001"];

/// Programs the recipes run, besides those of every system.
const TOOLS: [&str; 4] = ["curl", "htpasswd", "openssl", "python3"];

/// What comes before a recipe's own commands. What the environment says of the tests is nothing to the server, and what
/// listens, which is `registry serve` and scripts of a recipe, goes on beside them, and ends with them.
const PROLOGUE: &str = r#"
unset $(env | sed -n 's/^\(REGISTRY_[A-Z_]*\)=.*/\1/p')
started=
beside() {
    command "$@" >"$1.log" 2>&1 &
    started="$started $!"
    trap "kill $started" EXIT
    until grep -q 'listening on' "$1.log"; do
        kill -0 $! || { cat "$1.log"; exit 1; }
        sleep 0.05
    done
}
registry() {
    if [ "$1" = serve ]; then
        beside registry "$@"
    else
        command registry "$@"
    fi
}
python3() {
    beside python3 "$@"
}
"#;

struct Recipe {
    title: &'static str,
    /// Names and contents.
    files: Vec<(&'static str, &'static str)>,
    /// Commands behind `$ `, and what each prints; `…` is anything.
    session: String,
}

/// The sections of the page's part with this heading that show a session.
fn recipes() -> Vec<Recipe> {
    let (_, part) = PAGE.split_once("\n## Recipes\n").expect("recipes");
    let part = part.split("\n## ").next().unwrap_or(part);
    part.split("\n### ").skip(1).map(recipe).collect()
}

fn recipe(section: &'static str) -> Recipe {
    let (title, text) = section.split_once('\n').expect("a text");
    let mut recipe = Recipe {
        title,
        files: Vec::new(),
        session: String::new(),
    };
    // Every second piece is between fences.
    for block in text.split("```").skip(1).step_by(2) {
        let (language, content) = block.split_once('\n').expect("a block of lines");
        if language == "console" {
            recipe.session.push_str(content);
        } else {
            let first = content
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# "));
            let name = first.unwrap_or_else(|| panic!("{title}: a file without its name"));
            recipe.files.push((name, content));
        }
    }
    assert!(!recipe.session.is_empty(), "{title} shows nothing");
    recipe
}

impl Recipe {
    fn commands(&self) -> impl Iterator<Item = &str> {
        self.session
            .lines()
            .filter_map(|line| line.strip_prefix("$ "))
    }

    /// What its session prints here, with the addresses that it has in the page, and what else was said.
    fn run(&self, shell: &Tool) -> (String, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let listeners = ADDRESSES.map(|_| TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let free = listeners.each_ref().map(|listener| {
            let address = listener.local_addr().expect("a free address");
            address.to_string()
        });
        drop(listeners);
        let pairs = || {
            ADDRESSES
                .iter()
                .copied()
                .zip(free.iter().map(String::as_str))
        };
        let here = |text: &str| {
            pairs().fold(text.to_owned(), |text, (shown, free)| {
                text.replace(shown, free)
            })
        };
        for (name, content) in &self.files {
            let content = here(content);
            std::fs::write(directory.path().join(name), content).expect("a file");
        }
        let mut script = PROLOGUE.to_owned();
        for command in self.commands() {
            let command = here(command);
            // What is typed is shown as it stands.
            write!(
                script,
                "cat <<'EOF'\n$ {command}\nEOF\n{command} 2>>errors\n"
            )
            .expect("text");
        }
        let shell = shell.clone().directory(directory.path());
        let output = shell.attempt(["-c", &script]);
        let said = |name| {
            let said = std::fs::read_to_string(directory.path().join(name));
            said.unwrap_or_default()
        };
        let logs = [said("registry.log"), said("python3.log")];
        let errors = [said("errors"), logs.concat(), output.stderr].concat();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed = pairs().fold(printed, |text, (shown, free)| text.replace(free, shown));
        (printed, errors)
    }
}

/// Whether a line is what the page shows, where `…` stands for anything.
fn matches(shown: &str, mut printed: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else {
        return shown == printed;
    };
    let Some(after) = printed.strip_prefix(first) else {
        return false;
    };
    printed = after;
    let (middle, last) = rest.rsplit_once('…').unwrap_or(("", rest));
    for piece in middle.split('…') {
        match printed.split_once(piece) {
            Some((_, after)) => printed = after,
            None => return false,
        }
    }
    printed.ends_with(last)
}

#[test]
fn every_recipe_does_what_it_shows() {
    if TOOLS.iter().any(|name| tool(name).is_none()) {
        return;
    }
    let Some(shell) = tool("sh") else { return };
    let programs = binary().parent().expect("a directory").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let shell = shell.env("PATH", format!("{programs}:{path}"));
    let recipes = recipes();
    assert!(recipes.len() > 5, "{} recipes", recipes.len());
    let mut others = String::new();
    for recipe in recipes {
        let (printed, errors) = recipe.run(&shell);
        let (shown, lines): (Vec<_>, Vec<_>) =
            (recipe.session.lines().collect(), printed.lines().collect());
        let same = shown.len() == lines.len()
            && shown
                .iter()
                .zip(&lines)
                .all(|(shown, printed)| matches(shown, printed));
        if !same {
            write!(others, "### {}\n\n{printed}\n{errors}\n", recipe.title).expect("text");
        }
    }
    assert!(
        others.is_empty(),
        "these print something else than the page shows:\n\n{others}"
    );
}
