//! What is charged when: of every time the best figure that is to be had, as a [`crate::model::grid::Plan`].

/// What is taken when no provider has a figure for the time in question.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Limits {}
