//! Who is asking, and what they may do.
//!
//! An [`AccessControl`] answers one question for every request: may this
//! [`Operation`](registry_core::Operation) go on, for whoever sent these
//! headers? *Who* is found out by [`Authenticator`]s, *what* is decided by
//! [`Policy`]s; the answer is a [`Grant`] that holds the
//! [`Access`](registry_core::Access) every registry call needs, or a
//! [`Refusal`].
//!
//! ```
//! use registry_auth::{AccessControl, Login, Rules};
//! use registry_core::Action;
//!
//! let rules = Rules::new()
//!     .signed_in("library/**", &[Action::Pull])
//!     .sentence("user ci is writer of team/**")
//!     .check()?;
//! let access = AccessControl::new(rules).authenticator(Login::new(|user, password| async move {
//!     let known = user == "ci";
//!     known & password.matches("the secret that the program keeps")
//! }));
//! # let _ = access;
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! What holds for every request:
//!
//! * What nobody allows is refused, and what one policy denies no other allows.
//! * Wrong credentials are refused, even where none were needed.
//! * The answer never depends on whether the repository exists.
//! * Nobody unknown manages anything, whatever the policies allow.
//! * A token never allows more than its holder may, nor more than it covers.
//! * A refusal of somebody unknown carries exactly one challenge. If anything
//!   needs a login, so does `GET /v2/`: that is where clients find out.
//!
//! # Anonymous pulls beside passwords
//!
//! Docker, podman, skopeo and crane ask `GET /v2/` how to log in, and do so for
//! everything once the answer is a challenge for a password. So with passwords
//! alone they never pull anonymously, even where a rule allows it.
//!
//! With a token server (the feature `token`) the challenge is for a token, and
//! whoever has no password gets one for what everybody may do. Every client then
//! pulls anonymously and pushes after a login, from the same server:
//!
//! ```
//! # #[cfg(feature = "token")] {
//! use registry_auth::{AccessControl, Login, Rules, TokenServer};
//! use registry_core::Action;
//!
//! let rules = Rules::new()
//!     .anonymous("**", &[Action::Pull])
//!     .signed_in("**", &[Action::Pull, Action::Push, Action::Overwrite]);
//! let access = AccessControl::new(rules)
//!     .authenticator(Login::new(|_, password| async move { password.matches("…") }))
//!     .tokens(TokenServer::ephemeral()?);
//! # let _ = access;
//! # }
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! A token or a key is good for the repository that it was made for, not for another
//! that is created under its name when that one is deleted, where the registry behind
//! can [tell them apart](registry_core::Registry::epochs). Whoever asks an
//! [`AccessControl`] without a service gives it the [epochs](AccessControl::epochs).
//!
//! # Features
//!
//! All are off unless asked for:
//!
//! * `htpasswd`: users from a password file.
//! * `issuer`: tokens that another service gives out, by [`Issuer`].
//! * `keys`: API keys, and accounts for programs (`Keys`).
//! * `ldap`: users of a directory, such as OpenLDAP or Active Directory
//!   (`Ldap`).
//! * `policy`: rules from a file, and time zones by their names in a
//!   [`TimeWindow`].
//! * `records`: accounts, keys and revocations in a file (`FileRecords`).
//! * `token`: a server of short-lived tokens (`TokenServer`); signed tokens and
//!   the public keys that check them, in `jwt`.
//! * `webhook`: decisions of a service of the operator's own, by `Webhook`, and
//!   reviews that nobody keeps from others (`FairReview`).
//! * `workload`: CI jobs and other programs that another system vouches for, by
//!   `Workload`.

#![forbid(unsafe_code)]

mod access_control;
mod authenticator;
#[cfg(feature = "certificate")]
mod certificate;
mod challenge;
mod credentials;
#[cfg(feature = "webhook")]
mod fair_review;
mod fetch;
mod glob;
mod guard;
#[cfg(feature = "htpasswd")]
mod htpasswd;
#[cfg(feature = "issuer")]
mod issuer;
#[cfg(feature = "token")]
pub mod jwt;
#[cfg(any(feature = "ldap", feature = "webhook"))]
mod kept_secret;
#[cfg(feature = "keys")]
mod keys;
#[cfg(feature = "ldap")]
mod ldap;
mod login;
mod network;
mod pattern;
mod policy;
#[cfg(feature = "policy")]
mod policy_file;
mod principal;
mod rate;
mod records;
#[cfg(any(feature = "ldap", feature = "token", feature = "webhook"))]
mod remembered;
mod review;
mod role;
mod rule;
mod rules;
mod secret;
mod sender;
#[cfg(feature = "webhook")]
mod shares;
mod shown;
mod suggestion;
mod table;
mod tag_pattern;
mod time_window;
#[cfg(feature = "token")]
mod token_server;
#[cfg(any(
    feature = "htpasswd",
    feature = "issuer",
    feature = "ldap",
    feature = "policy",
    feature = "webhook"
))]
mod watched_file;
#[cfg(feature = "webhook")]
mod webhook;
#[cfg(feature = "workload")]
mod workload;

pub use access_control::{
    AccessControl, Explanation, Grant, Inquiry, ManagementGrant, ManagementNeed, Refusal,
};
pub use authenticator::{Authenticator, Caller, Standing};
#[cfg(feature = "certificate")]
pub use certificate::{CertificateName, Certificates};
pub use challenge::Challenge;
pub use credentials::{AUTHORIZATION_MAX, Credentials, wrong_credentials};
#[cfg(feature = "webhook")]
pub use fair_review::FairReview;
pub use fetch::Fetch;
pub use glob::Glob;
pub use guard::GuardLimits;
#[cfg(feature = "htpasswd")]
pub use htpasswd::{Htpasswd, PASSWORD_MAX};
#[cfg(feature = "issuer")]
pub use issuer::{Issuer, TrustIssuer};
#[cfg(feature = "keys")]
pub use keys::{ApiKey, Keys, NewKey, Robot, RobotChange};
#[cfg(feature = "ldap")]
pub use ldap::{Ldap, LdapBuilder};
pub use login::{Login, LoginAnswer};
pub use network::{Network, Networks};
pub use pattern::Pattern;
pub use policy::{Decision, Effect, Horizon, Opinion, Policy, Question};
#[cfg(feature = "policy")]
pub use policy_file::{PolicyFile, PolicyProblem};
pub use principal::{Principal, PrincipalKind, TokenIssuer, TokenLimits};
pub use rate::{Rate, RateLimits};
#[cfg(feature = "records")]
pub use records::FileRecords;
pub use records::MemoryRecords;
pub use review::Review;
pub use role::Role;
pub use rule::{Rule, Who};
pub use rules::{RemarkKind, RuleRemark, Rules};
pub use secret::{Secret, hide_secrets, holds_secret};
pub use sender::{ClientCertificate, Sender};
pub use tag_pattern::TagPattern;
pub use time_window::TimeWindow;
#[cfg(feature = "token")]
pub use token_server::{
    SigningAlgorithm, TOKEN_REQUEST_MAX, TokenAnswer, TokenRequest, TokenServer,
};
#[cfg(feature = "webhook")]
pub use webhook::Webhook;
#[cfg(feature = "workload")]
pub use workload::Workload;
