//! Records of people, organizations and credentials.

mod audit;
mod credentials;
mod people;
#[cfg(test)]
mod tests;

pub(crate) use audit::{decode_entry, encode_entry};
pub(crate) use credentials::{
    decode_key, decode_reset, decode_session, encode_key, encode_reset, encode_session,
};
pub(crate) use people::{
    decode_invitation, decode_organization, decode_user, encode_invitation, encode_organization, encode_user,
};

use super::{Hex, Millis, Record, VERSION, is_default, read, write};
