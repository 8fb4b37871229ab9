//! What the targets share.

use bifrost_providers::Dialect;

/// The first byte of an input, modulo six, is a place in this list; seeds begin with the digit.
pub const DIALECTS: [Dialect; 6] = Dialect::ALL;
