//! Tests of the crate as a whole, in a world of one root and the nodes Alice, Bob and Mallory.

mod admission;
mod certificates;
mod dates;
mod envelopes;
mod floors;
mod forgery;
mod keys;
mod openssl;
mod parsers;
mod requests;
mod revocations;
mod world;
