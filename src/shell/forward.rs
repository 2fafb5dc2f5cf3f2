//! The forwarders.
