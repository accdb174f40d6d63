//! The format of stored records: any bytes read as a record or as a typed error, and a record that
//! was read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use token_rotator::keys::{DataKey, KeySource};
use token_rotator::store::{RecordCodec, RecordHeader};
use token_rotator::SessionKey;

fuzz_target!(|bytes: &[u8]| {
    let session = SessionKey::new("work");
    let sealed = RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]));
    let plain = RecordCodec::plaintext();
    let header = RecordHeader::read(&session, bytes);
    for codec in [sealed, plain] {
        let Ok(record) = codec.decode(&session, bytes) else {
            continue;
        };
        let header = header
            .as_ref()
            .expect("a record that can be read has a header");
        assert_eq!(header.version, record.version());
        let again = codec.encode(&session, &record).expect("randomness");
        let again = codec
            .decode(&session, &again)
            .expect("what was written now");
        assert_eq!(again.version(), record.version());
        assert_eq!(again.intent(), record.intent());
        assert_eq!(again.tokens().is_some(), record.tokens().is_some());
    }
});
