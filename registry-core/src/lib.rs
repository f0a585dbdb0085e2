//! The words and the seam of an embeddable OCI registry: types, the Registry trait, stateless layers.
