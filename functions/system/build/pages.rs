//! Packs the pages of the documentation: every file compressed once, under a name that changes with its
//! content, so that browsers may keep it for ever; and the HTML, which names them.

use std::{
    env,
    error::Error,
    fmt::{self, Write as _},
    fs,
    io::{Cursor, Read, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const PAGES: &str = "pages";

/// Files of Swagger UI's archive, and what we call them.
const SWAGGER_UI: [(&str, &str); 5] = [
    ("dist/swagger-ui-bundle.js", "swagger-ui-bundle.js"),
    ("dist/swagger-ui.css", "swagger-ui.css"),
    ("dist/favicon-32x32.png", "favicon.png"),
    ("LICENSE", "swagger-ui-license.txt"),
    ("NOTICE", "swagger-ui-notice.txt"),
];

/// Files of ours and of ReDoc's package, below `pages`. No crate carries ReDoc by itself. It is the last of version
/// 2: version 3 is twice the size, and brings what reports its use to its makers.
const OURS: [(&str, &str); 7] = [
    ("docs.js", "docs.js"),
    ("docs.css", "docs.css"),
    ("redoc.js", "redoc.js"),
    ("redoc.css", "redoc.css"),
    ("redoc/redoc.standalone.js", "redoc.standalone.js"),
    ("redoc/LICENSE", "redoc-license.txt"),
    ("redoc/redoc.standalone.js.LICENSE.txt", "redoc-notice.txt"),
];

/// ReDoc shows its maker's logo from elsewhere, and shows none where that cannot be loaded.
const LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";
const NO_LOGO: &str = "data:,";

/// What we call it, and its content.
type File = (&'static str, Vec<u8>);

/// Writes `pages.rs`: the constants `DOCS` and `REDOC`, and the table `ASSETS`.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by its environment where to write"
)]
pub(crate) fn pack() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PAGES}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut html = [
        (
            "DOCS",
            fs::read_to_string(Path::new(PAGES).join("docs.html"))?,
        ),
        (
            "REDOC",
            fs::read_to_string(Path::new(PAGES).join("redoc.html"))?,
        ),
    ];

    let mut code = String::from("const ASSETS: &[Asset] = &[\n");
    for (name, content) in read_swagger_ui()?.into_iter().chain(read_ours()?) {
        let packed = named_by_content(name, &content)?;
        write_gzip(&out.join(&packed), &content)?;
        for (_, html) in &mut html {
            *html = html.replace(&format!("\"docs/{name}\""), &format!("\"docs/{packed}\""));
        }
        writeln!(
            code,
            "    Asset {{ name: {packed:?}, content_type: {:?}, gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{packed}\")) }},",
            content_type(name)?,
        )?;
    }
    code.push_str("];\n");
    for (name, html) in html {
        let tag = digest(html.as_bytes())?;
        writeln!(
            code,
            "const {name}: Page = Page {{ html: {html:?}, etag: \"\\\"{tag}\\\"\" }};"
        )?;
    }
    Ok(fs::write(out.join("pages.rs"), code)?)
}

fn read_swagger_ui() -> Result<Vec<File>, Box<dyn Error>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    // One folder holds it all, and is named for the version.
    let first = archive.by_index(0)?.name()?.into_owned();
    let root = first.split('/').next().unwrap_or_default();
    let mut files = Vec::new();
    for (path, name) in SWAGGER_UI {
        let mut content = Vec::new();
        archive
            .by_name(&format!("{root}/{path}"))?
            .read_to_end(&mut content)?;
        files.push((name, content));
    }
    Ok(files)
}

fn read_ours() -> Result<Vec<File>, Box<dyn Error>> {
    let mut files = Vec::new();
    for (path, name) in OURS {
        let mut content = fs::read(Path::new(PAGES).join(path))?;
        if name == "redoc.standalone.js" {
            let script = String::from_utf8(content)?;
            if script.matches(LOGO).count() != 1 {
                return Err(format!("{path} no longer shows {LOGO} once").into());
            }
            content = script.replace(LOGO, NO_LOGO).into_bytes();
        }
        files.push((name, content));
    }
    Ok(files)
}

/// `redoc.js` becomes `redoc-0123456789ab.js`.
fn named_by_content(name: &str, content: &[u8]) -> Result<String, fmt::Error> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    Ok(format!("{stem}-{}.{extension}", digest(content)?))
}

/// Twelve digits of a hash.
fn digest(content: &[u8]) -> Result<String, fmt::Error> {
    let mut digits = String::new();
    for byte in Sha256::digest(content).iter().take(6) {
        write!(digits, "{byte:02x}")?;
    }
    Ok(digits)
}

fn write_gzip(path: &Path, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    Ok(fs::write(path, gzip.finish()?)?)
}

fn content_type(name: &str) -> Result<&'static str, Box<dyn Error>> {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("png") => Ok("image/png"),
        Some("txt") => Ok("text/plain; charset=utf-8"),
        _ => Err(format!("{name} has no known type").into()),
    }
}
