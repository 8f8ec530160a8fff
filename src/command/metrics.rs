//! `jouleprint metrics`: the reference of all series.

use crate::output::reference;

/// Prints it.
pub fn run() {
    print!("{}", reference::markdown());
}
