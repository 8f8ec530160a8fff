//! The fast tier: no root, no network, no hardware.

mod house;
