//! The platform client, pure.

pub mod blame;
pub mod oauth;
pub mod printable;
pub mod retry_after;
pub mod saml;
