//! Where the machine stands: what the user says, else what its cloud says, else its node's labels.

/// Who may be asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wish {}
