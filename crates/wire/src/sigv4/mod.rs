//! Signature version 4.
