//! Files that are PUT.

use super::site::{Body, Site, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::time::timeout;

/// The digests of RFC 9530: of this transfer, and of the file.
const DIGESTS: [&str; 2] = ["content-digest", "repr-digest"];
/// How long the next piece of a body may take.
const PIECE: Duration = Duration::from_secs(60);

/// Stores the body in a file, which is there in whole or not at all.
pub(super) async fn answer(site: &Site, request: Request<Incoming>) -> Response<Body> {
    let (status, len, digest) = match store(site, request).await {
        Ok(stored) => stored,
        Err((status, reason)) => return text(status, format!("{reason}\n")),
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut answer = text(status, format!("{len} {hex}\n"));
    let field = format!("sha-256=:{}:", BASE64.encode(digest));
    if let Ok(field) = HeaderValue::from_str(&field) {
        answer.headers_mut().insert(DIGESTS[1], field);
    }
    answer
}

type Failure = (StatusCode, String);

async fn store(
    site: &Site,
    request: Request<Incoming>,
) -> Result<(StatusCode, u64, [u8; 32]), Failure> {
    let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
    let len_max = site.upload_max.unwrap_or(0);
    let (target, folder) = target(site, request.uri().path())?;
    if request.headers().contains_key(CONTENT_RANGE) {
        return Err(bad("a part of a file is not taken: send all of it"));
    }
    let expected = expected(request.headers()).map_err(bad)?;
    let failed = |error: std::io::Error| {
        let status = match error.kind() {
            ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
            ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, error.to_string())
    };
    // It is removed if this is dropped.
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let (mut len, mut hash) = (0_u64, Sha256::new());
    let mut body = request.into_body();
    loop {
        let silent = |_| (StatusCode::REQUEST_TIMEOUT, "the body does not come".to_owned());
        let Some(frame) = timeout(PIECE, body.frame()).await.map_err(silent)? else { break };
        let frame = frame.map_err(|error| bad(&error.to_string()))?;
        // Trailers are none of the file's bytes.
        let Ok(piece) = frame.into_data() else { continue };
        len = len.saturating_add(piece.len() as u64);
        if len > len_max {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("more than {len_max} bytes")));
        }
        // The page cache takes it, in pieces of some KiB.
        file.write_all(&piece).map_err(failed)?;
        hash.update(&piece);
    }
    let digest: [u8; 32] = hash.finalize().into();
    if expected.is_some_and(|expected| expected != digest) {
        return Err(bad("the body is not the one of its digest"));
    }
    let status = if target.exists() { StatusCode::OK } else { StatusCode::CREATED };
    make_readable(&file).map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    Ok((status, len, digest))
}

/// Where the file is to be, and its folder, which is there and inside the root.
fn target(site: &Site, url: &str) -> Result<(PathBuf, PathBuf), Failure> {
    let missing = || (StatusCode::NOT_FOUND, "there is no such folder".to_owned());
    let path = site.below(url).ok_or_else(missing)?;
    let name = path.file_name().filter(|_| path != site.root && !url.ends_with('/'));
    let name = name.ok_or((StatusCode::CONFLICT, "the name of the file is missing".to_owned()))?;
    let folder = path.parent().and_then(|folder| site.inside(folder));
    let folder = folder.filter(|folder| folder.is_dir()).ok_or_else(missing)?;
    let target = folder.join(name);
    if target.is_dir() {
        return Err((StatusCode::CONFLICT, "there is a folder of this name".into()));
    }
    Ok((target, folder))
}

/// The SHA-256 that the client gives, if it gives one.
fn expected(headers: &HeaderMap) -> Result<Option<[u8; 32]>, &'static str> {
    let fields = DIGESTS.iter().flat_map(|name| headers.get_all(*name));
    let mut expected = None;
    for field in fields.filter_map(|field| field.to_str().ok()) {
        for member in field.split(',').map(str::trim) {
            // Digests of other algorithms are not compared.
            let Some(value) = member.strip_prefix("sha-256=") else { continue };
            let value = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
            let digest = value.and_then(|value| BASE64.decode(value).ok());
            let digest = digest.and_then(|digest| digest.try_into().ok());
            expected = Some(digest.ok_or("a digest that is none of SHA-256")?);
        }
    }
    Ok(expected)
}

/// As a file that the server's user makes, in place of one that only the user can read.
fn make_readable(file: &NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}
