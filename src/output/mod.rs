//! Edge out: the catalogue of series, the text formats, HTTP with its access rules, the
//! landing page, and the push over OTLP. Everything is made from a snapshot; nothing here reads hardware or
//! waits for the sampler. A relay's pages are made from what it knows of each zone.

pub mod access;
pub mod api;
pub mod catalogue;
pub mod fleet;
pub mod http;
pub mod negotiate;
pub mod otlp;
pub mod page;
pub mod prometheus;
pub mod reference;
pub mod relay;
