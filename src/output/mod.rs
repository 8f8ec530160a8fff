//! Edge out: the catalogue of series, the text formats, HTTP with its access rules, and the landing page. Everything is made
//! from a snapshot; nothing here reads hardware or waits for the sampler.

pub mod access;
pub mod catalogue;
pub mod http;
pub mod negotiate;
pub mod page;
pub mod prometheus;
pub mod reference;
