//! Tokens that were made to be believed: each takes a good token, changes one thing that some reader somewhere fell for, and
//! signs it again with the genuine key wherever that makes it harder to refuse.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::time::{ManualClock, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::*;
use crate::key::KeyName;

const NOW: u64 = 1_800_000_000;

struct Forge {
    key: SigningKey,
    tokens: AccessTokens,
    /// Name of the attack, and its token.
    made: Vec<(String, String)>,
}

fn b64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn hs256(key: &[u8], message: &str) -> Vec<u8> {
    Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

fn join(header: &str, payload: &str, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    let signature = b64(sign(&signed));
    format!("{signed}.{signature}")
}

impl Forge {
    fn new() -> Self {
        let key = SigningKey::random("k1".parse::<KeyName>().unwrap());
        let keys = SigningKeys::new(key.clone(), Some(SigningKey::random("k0".parse().unwrap()))).unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW as i64 * 1000));
        Self { key, tokens: AccessTokens::new("gantry", "api", &keys, Arc::new(clock)), made: Vec::new() }
    }

    fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "HS256", "kid": "k1"})
    }

    fn payload(&self) -> Value {
        json!({
            "iss": "gantry", "aud": "api", "typ": "access", "jti": TokenId::new(), "sub": UserId::new(),
            "sid": SessionId::new(), "org": OrganizationId::new(), "iat": NOW, "nbf": NOW, "exp": NOW + 900,
        })
    }

    /// Signed as ours are.
    fn genuine(&self, header: &str, payload: &str) -> String {
        join(header, payload, |signed| hs256(self.key.bytes(), signed))
    }

    fn add(&mut self, name: impl Into<String>, token: String) {
        self.made.push((name.into(), token));
    }

    fn with_header(&mut self, name: &str, header: &str) {
        let token = self.genuine(header, &self.payload().to_string());
        self.add(format!("header: {name}"), token);
    }

    fn with_payload(&mut self, name: &str, payload: &str) {
        let token = self.genuine(&self.header().to_string(), payload);
        self.add(format!("claims: {name}"), token);
    }

    fn with_claim(&mut self, claim: &str, value: Value) {
        let mut payload = self.payload();
        payload[claim] = value.clone();
        self.with_payload(&format!("{claim} = {value}"), &payload.to_string());
    }
}

fn algorithms(forge: &mut Forge) {
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256",
        "HS256 ",
    ] {
        let mut header = forge.header();
        header["alg"] = json!(alg);
        forge.with_header(&format!("alg {alg:?}"), &header.to_string());
        let unsigned = join(&header.to_string(), &forge.payload().to_string(), |_| Vec::new());
        forge.add(format!("alg {alg:?}, unsigned"), unsigned);
    }
    for value in [json!(null), json!(256), json!(["HS256"]), json!({"HS256": null}), json!(true)] {
        let mut header = forge.header();
        header["alg"] = value.clone();
        forge.with_header(&format!("alg {value}"), &header.to_string());
    }
    let (mut header, payload) = (forge.header(), forge.payload().to_string());
    header["alg"] = json!("HS512");
    let key = forge.key.bytes().to_vec();
    let token = join(&header.to_string(), &payload, |signed| {
        Hmac::<sha2::Sha512>::new_from_slice(&key)
            .unwrap()
            .chain_update(signed)
            .finalize()
            .into_bytes()
            .to_vec()
    });
    forge.add("a real HS512 of our key", token);
}

/// Signed with a key of the attacker's own, which the token brings along or points to.
fn own_keys(forge: &mut Forge) {
    let pairs = [
        ("EdDSA", Algorithm::EdDSA, &rcgen::PKCS_ED25519),
        ("ES256", Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
    ];
    for (alg, algorithm, kind) in pairs {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let der = pair.serialize_der();
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_ec_der(&der),
        };
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key_raw())});
        for (name, header) in [
            ("bare", json!({"typ": "JWT", "alg": alg, "kid": "k1"})),
            ("with jwk", json!({"typ": "JWT", "alg": alg, "kid": "k1", "jwk": jwk})),
        ] {
            let signed = format!("{}.{}", b64(header.to_string()), b64(forge.payload().to_string()));
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm).unwrap();
            forge.add(format!("a real {alg} {name}"), format!("{signed}.{signature}"));
        }
        // The public key of one algorithm as the secret of ours.
        let header = forge.header().to_string();
        let token =
            join(&header, &forge.payload().to_string(), |signed| hs256(pair.public_key_raw(), signed));
        forge.add(format!("HS256 under a public key of {alg}"), token);
    }
    for (name, value) in [
        ("jwk", json!({"kty": "oct", "k": b64([7; 32])})),
        ("jku", json!("https://attacker.example/keys.json")),
        ("x5u", json!("https://attacker.example/chain.pem")),
        ("x5c", json!([STANDARD.encode("certificate")])),
        ("x5t", json!("c2hhMQ")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("exp", json!(NOW + 900)),
    ] {
        let mut header = forge.header();
        header[name] = value;
        forge.with_header(name, &header.to_string());
    }
    let mut header = forge.header();
    header["jwk"] = json!({"kty": "oct", "k": b64([7; 32])});
    let token = join(&header.to_string(), &forge.payload().to_string(), |signed| hs256(&[7; 32], signed));
    forge.add("signed with the jwk it brings", token);
}

fn key_names(forge: &mut Forge) {
    for kid in [
        json!(""),
        json!("k2"),
        json!("K1"),
        json!("k1 "),
        json!("k1\u{0}"),
        json!("../../dev/null"),
        json!("k1' OR '1'='1"),
        json!(null),
        json!(1),
        json!(["k1"]),
    ] {
        let mut header = forge.header();
        header["kid"] = kid.clone();
        forge.with_header(&format!("kid {kid}"), &header.to_string());
    }
    let mut header = forge.header();
    header["kid"] = json!("k0");
    forge.with_header("the name of our other key", &header.to_string());
    let (header, payload) = (forge.header().to_string(), forge.payload().to_string());
    for (name, key) in [("a zero key", &[0; 32][..]), ("the key's name", b"k1")] {
        forge.add(format!("HS256 under {name}"), join(&header, &payload, |signed| hs256(key, signed)));
    }
}

fn headers(forge: &mut Forge) {
    for (name, header) in [
        ("no kid", r#"{"typ":"JWT","alg":"HS256"}"#),
        ("no alg", r#"{"typ":"JWT","kid":"k1"}"#),
        ("no typ", r#"{"alg":"HS256","kid":"k1"}"#),
        ("typ at+jwt", r#"{"typ":"at+jwt","alg":"HS256","kid":"k1"}"#),
        ("typ jwt", r#"{"typ":"jwt","alg":"HS256","kid":"k1"}"#),
        ("alg twice", r#"{"typ":"JWT","alg":"none","alg":"HS256","kid":"k1"}"#),
        ("alg twice, escaped", r#"{"typ":"JWT","alg":"HS256","\u0061lg":"none","kid":"k1"}"#),
        ("kid twice", r#"{"typ":"JWT","alg":"HS256","kid":"k0","kid":"k1"}"#),
        ("a list", r#"["HS256","k1","JWT"]"#),
        ("two values", r#"{"typ":"JWT","alg":"HS256","kid":"k1"}{}"#),
        ("led by a space", r#" {"typ":"JWT","alg":"HS256","kid":"k1"}"#),
        ("null", "null"),
        ("empty", ""),
        ("cut off", r#"{"typ":"JWT","alg":"HS256","kid":"k1""#),
    ] {
        forge.with_header(name, header);
    }
}

fn claims(forge: &mut Forge) {
    for claim in ["iss", "aud", "typ", "jti", "sub", "sid", "org", "iat", "nbf", "exp"] {
        let mut payload = forge.payload();
        payload.as_object_mut().unwrap().remove(claim);
        forge.with_payload(&format!("no {claim}"), &payload.to_string());
        // Who belongs to no organization has a token that says so.
        if claim != "org" {
            forge.with_claim(claim, Value::Null);
        }
        forge.with_claim(claim, json!([]));
        let twice = forge.payload().to_string();
        let twice = twice.replacen('{', &format!("{{{:?}:{},", claim, forge.payload()[claim]), 1);
        forge.with_payload(&format!("{claim} twice"), &twice);
    }
    for exp in [
        json!((NOW + 900).to_string()),
        json!(NOW as f64 + 900.0),
        json!(1.8e12),
        json!(-1),
        json!(0),
        json!(true),
        json!(u64::MAX),
        json!(NOW + 901),
        json!(NOW - 5),
        json!(NOW),
        json!((NOW + 900) * 1000),
    ] {
        forge.with_claim("exp", exp);
    }
    for (claim, value) in [
        ("nbf", json!(NOW + 6)),
        ("nbf", json!(NOW - 1)),
        ("nbf", json!(NOW.to_string())),
        ("iat", json!(NOW + 60)),
        ("iat", json!(NOW as f64)),
        ("aud", json!(["api"])),
        ("aud", json!(["other", "api"])),
        ("aud", json!("API")),
        ("iss", json!("gantry.attacker.example")),
        ("iss", json!("gantry ")),
        ("typ", json!("refresh")),
        ("typ", json!({"access": null})),
        ("sub", json!("admin")),
        ("sub", json!(OrganizationId::new())),
        ("org", json!(UserId::new())),
        ("org", json!([OrganizationId::new(), OrganizationId::new()])),
        ("sid", json!("")),
        ("jti", json!(1)),
        ("role", json!("admin")),
        ("scope", json!("*")),
    ] {
        forge.with_claim(claim, value);
    }
    let values: Vec<_> = ["iss", "aud", "typ", "jti", "sub", "sid", "org", "iat", "nbf", "exp"]
        .map(|claim| forge.payload()[claim].clone())
        .into();
    for (name, payload) in [
        ("a list", json!(values).to_string()),
        ("empty", String::new()),
        ("a text", json!("access").to_string()),
    ] {
        forge.with_payload(name, &payload);
    }
}

fn shapes(forge: &mut Forge) {
    let good = forge.genuine(&forge.header().to_string(), &forge.payload().to_string());
    let parts: Vec<_> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let other = forge.genuine(&forge.header().to_string(), &forge.payload().to_string());
    let other_signature = other.rsplit('.').next().unwrap();
    for (name, token) in [
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("one part", header.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as if encrypted", format!("{header}.{payload}.{payload}.{payload}.{signature}")),
        ("an empty part in front", format!(".{good}")),
        ("half a signature", format!("{header}.{payload}.{}", &signature[..22])),
        ("a longer signature", format!("{good}AA")),
        ("the signature of another", format!("{header}.{payload}.{other_signature}")),
        ("padded", format!("{good}=")),
        ("standard base64", format!("{header}.{payload}.{}", STANDARD.encode([0xfb_u8; 32]))),
        ("a space behind", format!("{good} ")),
        ("a line end behind", format!("{good}\n")),
        ("a scheme in front", format!("Bearer {good}")),
        ("as JSON", json!({"protected": header, "payload": payload, "signature": signature}).to_string()),
        ("no text", String::new()),
        ("dots", "...".to_owned()),
    ] {
        forge.add(format!("shape: {name}"), token);
    }
    let spaces = forge.payload().to_string().replacen('{', &format!("{{{}", " ".repeat(MAX_TOKEN_BYTES)), 1);
    forge.with_payload("longer than any of ours", &spaces);
}

#[test]
fn tokens_made_to_be_believed_are_not() {
    let mut forge = Forge::new();
    let good = forge.genuine(&forge.header().to_string(), &forge.payload().to_string());
    assert!(forge.tokens.verify(&good).is_ok(), "the forge makes good tokens when it changes nothing");
    algorithms(&mut forge);
    own_keys(&mut forge);
    key_names(&mut forge);
    headers(&mut forge);
    claims(&mut forge);
    shapes(&mut forge);
    let believed: Vec<_> =
        forge.made.iter().filter(|(_, token)| forge.tokens.verify(token) != Err(InvalidToken)).collect();
    assert!(believed.is_empty(), "{believed:#?}");
    let mut different = HashSet::new();
    let again: Vec<_> = forge.made.iter().filter(|(_, token)| !different.insert(token)).collect();
    assert!(again.is_empty(), "each is another token: {again:#?}");
    assert!(different.len() >= 150, "{}", different.len());
}
