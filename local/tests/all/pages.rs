//! The pages of the documentation as a browser fetches them. That they work in one is for local/checks/browser.

use std::io::Read;

use axum::http::StatusCode;
use flate2::read::GzDecoder;
use serde_json::json;

use crate::world::{Answer, Request};

const PAGES: [&str; 2] = ["/docs", "/redoc"];

/// The values of an attribute in a page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    html.split(&format!(" {attribute}=\""))
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

/// The addresses in a page.
fn addresses(html: &str) -> Vec<&str> {
    [values(html, "href"), values(html, "src")].concat()
}

/// Where an address in a page leads that was fetched from such a path.
fn resolve(path: &str, address: &str) -> String {
    let (mut folder, _) = path.rsplit_once('/').unwrap();
    let mut address = address;
    while let Some(rest) = address.strip_prefix("../") {
        (folder, _) = folder.rsplit_once('/').unwrap();
        address = rest;
    }
    format!("{folder}/{address}")
}

fn unpack(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut content = Vec::new();
    GzDecoder::new(answer.body.as_slice())
        .read_to_end(&mut content)
        .unwrap();
    content
}

at_both_doors! {
    async fn both_pages_are_html_that_may_do_no_more_than_they_need(world: World) {
        let styles = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' \
                      'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='";
        let docs = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        let redoc = docs
            .replace("style-src 'self'", &format!("style-src 'self' {styles}"))
            .replace("connect-src 'self'", "connect-src 'self'; worker-src blob:");
        for (path, policy) in [("/docs", docs), ("/redoc", redoc.as_str())] {
            for path in [path, &format!("{path}/")] {
                let page = world.get(path).await;
                assert_eq!(page.status, 200);
                assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
                assert_eq!(page.header("content-security-policy"), Some(policy));
                assert_eq!(page.header("cache-control"), Some("no-cache"));
                page.assert_common();
                let html = page.text();
                assert!(html.starts_with("<!doctype html>"));
                for inline in ["<style", "style=", " on", "javascript:"] {
                    assert!(!html.contains(inline), "{path} has {inline}");
                }
                // Every script is a file.
                assert_eq!(html.matches("<script").count(), html.matches("<script defer src=").count());
            }
        }
    }

    async fn everything_that_a_page_names_is_there_and_may_be_kept_for_ever(world: World) {
        for path in ["/docs", "/docs/", "/redoc", "/redoc/"] {
            let html = world.get(path).await.text();
            let addresses = addresses(&html);
            assert!(addresses.len() >= 6, "{html}");
            for address in addresses {
                assert!(!address.contains(':') && !address.starts_with('/'), "{path} names {address}");
                let asset = world.get(&resolve(path, address)).await;
                assert_eq!(asset.status, 200, "{path} names {address}");
                let content_type = match address.rsplit_once('.').unwrap().1 {
                    "css" => "text/css; charset=utf-8",
                    "js" => "text/javascript; charset=utf-8",
                    "png" => "image/png",
                    "txt" => "text/plain; charset=utf-8",
                    other => panic!("{other}"),
                };
                assert_eq!(asset.header("content-type"), Some(content_type));
                assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
                asset.assert_common();
                assert!(!unpack(&asset).is_empty());
                // An answer of Lambda is at most 6 MB, in base64 and with its headers.
                assert!(asset.body.len() < 1_000_000, "{address} has {} bytes", asset.body.len());
            }
        }
    }

    async fn no_script_fetches_from_elsewhere(world: World) {
        let html = world.get("/redoc").await.text();
        let scripts = values(&html, "src");
        assert_eq!(scripts.len(), 2);
        for script in scripts {
            let script = unpack(&world.get(&resolve("/redoc", script)).await);
            assert!(!String::from_utf8(script).unwrap().contains("cdn.redoc.ly"));
        }
        let html = world.get("/docs").await.text();
        let ours = *values(&html, "src").last().unwrap();
        let ours = unpack(&world.get(&resolve("/docs", ours)).await);
        // Where nothing is said, Swagger UI asks validator.swagger.io.
        assert!(String::from_utf8(ours).unwrap().contains("validatorUrl: null"));
    }

    async fn a_page_that_did_not_change_is_not_sent_again(world: World) {
        for path in PAGES {
            let first = world.get(path).await;
            let etag = first.header("etag").unwrap();
            for tags in [etag.to_owned(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
                let again = world.send(Request::get(path).header("if-none-match", &tags)).await;
                assert_eq!((again.status, again.text()), (StatusCode::NOT_MODIFIED, String::new()), "{tags}");
                for name in ["etag", "cache-control", "content-security-policy"] {
                    assert_eq!(again.header(name), first.header(name));
                }
            }
            for tags in ["\"other\"", "other", etag.trim_matches('"')] {
                let changed = world.send(Request::get(path).header("if-none-match", tags)).await;
                assert_eq!((changed.status, changed.text()), (StatusCode::OK, first.text()), "{tags}");
            }
        }
        let [docs, redoc] = PAGES.map(|path| world.get(path));
        assert_ne!(docs.await.header("etag"), redoc.await.header("etag"));
    }

    async fn head_tells_of_a_page_and_of_its_parts_without_sending_them(world: World) {
        let html = world.get("/docs").await.text();
        let script = format!("/{}", addresses(&html).last().unwrap());
        for path in ["/docs", "/redoc", &script] {
            let get = world.get(path).await;
            let head = world.send(Request::new("HEAD", path)).await;
            assert_eq!((head.status, head.text()), (StatusCode::OK, String::new()), "{path}");
            for name in ["content-type", "content-encoding", "cache-control", "etag"] {
                assert_eq!(head.header(name), get.header(name), "{path}");
            }
        }
    }

    async fn there_is_nothing_else_beside_the_pages(world: World) {
        for name in ["docs/swagger-ui-bundle.js", "docs/docs", "docs/..%2Fopenapi.json", "docs/%FF", "redoc/redoc.js"] {
            world.get(&format!("/{name}")).await.assert_detail(404, "Not Found");
        }
        let denied = world.send(Request::post("/docs")).await;
        denied.assert_detail(405, "Method Not Allowed");
        assert_eq!(denied.header("allow"), Some("GET,HEAD"));
    }

    async fn the_root_tells_a_program_what_answers_and_shows_a_person_the_pages(world: World) {
        let about = json!({
            "name": "Social Media API",
            "version": env!("CARGO_PKG_VERSION"),
            "docs": "docs",
            "redoc": "redoc",
            "openapi": "openapi.json",
        });
        for accept in [
            "*/*",
            "application/json",
            "text/html, application/json",
            "text/html;q=0.5, application/json;q=0.6",
            "text/html;q=0.9, */*",
            "text/html;q=0, */*;q=0.1",
            "text/html;q=much",
            "image/png",
            "html",
        ] {
            let answer = world.send(Request::get("/").header("accept", accept)).await;
            answer.assert(200, &about);
            assert_eq!(answer.header("vary"), Some("accept"), "{accept}");
        }
        let answer = world.get("/").await;
        answer.assert(200, &about);
        for name in ["docs", "redoc", "openapi"] {
            let there = world.get(&format!("/{}", about[name].as_str().unwrap())).await;
            assert_eq!(there.status, 200, "{name}");
        }
        for accept in [
            // Chromium's, Firefox's and Safari's.
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html",
            "TEXT/*, */*; Q=0.9",
            "application/json;q=0, */*",
        ] {
            let answer = world.send(Request::get("/").header("accept", accept)).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::FOUND, String::new()), "{accept}");
            assert_eq!(answer.header("location"), Some("docs"), "{accept}");
            assert_eq!(answer.header("vary"), Some("accept"), "{accept}");
            answer.assert_common();
        }
    }
}
