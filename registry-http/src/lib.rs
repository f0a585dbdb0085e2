//! The OCI distribution protocol over HTTP: service, listener and client of an embeddable registry.
