//! Who is asking and what they may do: access control for an embeddable OCI registry.
