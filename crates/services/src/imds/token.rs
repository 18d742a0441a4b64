//! Session tokens of instance metadata: an end and a mark, bound to the instance. Nothing is kept.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use postern_model::InstanceId;
use postern_wire::Timestamp;

use crate::directory::session::SessionKeys;

/// How long a token may hold: up to six hours.
pub(super) const TTL_SECONDS: RangeInclusive<i64> = 1..=21_600;

/// A token of this instance.
pub(super) fn make(keys: &SessionKeys, instance: InstanceId, ends_at: Timestamp) -> String {
    let ends = ends_at.millis().to_be_bytes();
    let mark = keys.metadata_mark(&[&instance.number().to_be_bytes(), &ends]);
    URL_SAFE.encode([ends.as_slice(), &mark].concat())
}

/// Whether it is a token of this instance that still holds.
pub(super) fn is_good(keys: &SessionKeys, instance: InstanceId, now: Timestamp, token: &[u8]) -> bool {
    let Ok(bytes) = URL_SAFE.decode(token) else { return false };
    let Some((ends, mark)) = bytes.split_first_chunk::<8>() else { return false };
    let holds = now.millis() < i64::from_be_bytes(*ends);
    keys.is_metadata_mark(&[&instance.number().to_be_bytes(), ends], mark) && holds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_holds_for_its_instance_and_time() {
        let keys = SessionKeys::from_bytes([3; 32]).unwrap();
        let (one, other) = (InstanceId::from_number(1 << 40), InstanceId::from_number(1 << 41));
        let at = Timestamp::from_seconds;
        let token = make(&keys, one, at(100));
        assert!(is_good(&keys, one, at(99), token.as_bytes()));
        assert!(!is_good(&keys, one, at(100), token.as_bytes()));
        assert!(!is_good(&keys, other, at(99), token.as_bytes()));
        let foreign = SessionKeys::from_bytes([4; 32]).unwrap();
        assert!(!is_good(&foreign, one, at(99), token.as_bytes()));
    }

    proptest! {
        #[test]
        fn nonsense_is_no_token(token in prop::collection::vec(any::<u8>(), 0..80)) {
            let keys = SessionKeys::from_bytes([3; 32]).unwrap();
            prop_assert!(!is_good(&keys, InstanceId::from_number(1 << 40), Timestamp::EPOCH, &token));
            let encoded = URL_SAFE.encode(&token);
            prop_assert!(!is_good(&keys, InstanceId::from_number(1 << 40), Timestamp::EPOCH, encoded.as_bytes()));
        }
    }
}
