//! Where an answer leads, followed as a browser follows it, on every way that a gateway and a domain may stand
//! before the API.

use serde_json::{Value, json};

use crate::world::{Answer, Door, Request, World, http_event, rest_event};

const EXECUTE_API: &str = "https://api.execute-api.eu-central-1.amazonaws.com";
const CUSTOM: &str = "https://api.example.com";

/// One way to deploy the API.
struct Deployment {
    name: &'static str,
    /// Where clients find the API.
    url: String,
    /// The event that the gateway makes of a request for a path of the API.
    event: fn(Request) -> Value,
}

impl Deployment {
    /// Sends a request for a path of the API, which is asked for below the URL.
    async fn send(&self, world: &World, request: Request) -> Answer {
        let path = request.target.split('?').next().unwrap().to_owned();
        world.send_event(&path, (self.event)(request)).await
    }

    /// The path of the API that clients find at a path of the domain.
    fn within<'a>(&self, path: &'a str) -> &'a str {
        let domain = self.url.trim_start_matches("https://");
        let base = domain.find('/').map_or("", |at| &domain[at..]);
        let below = path.strip_prefix(base);
        below.unwrap_or_else(|| panic!("{}: {path} leads out of the API", self.name))
    }
}

fn path_of(request: &Request) -> String {
    request.target.split('?').next().unwrap().to_owned()
}

/// An HTTP API's event, with this before the path.
fn http(request: Request, stage: &str, domain: &str, prefix: &str) -> Value {
    let path = format!("{prefix}{}", path_of(&request));
    let mut event = http_event(request, false);
    event["rawPath"] = json!(path);
    event["requestContext"]["http"]["path"] = json!(path);
    event["requestContext"]["stage"] = json!(stage);
    event["requestContext"]["domainName"] = json!(domain);
    event
}

/// A REST API's event, with these before the path in the two places where it stands.
fn rest(request: Request, domain: &str, prefix: &str, prefix_in_context: &str) -> Value {
    let path = path_of(&request);
    let mut event = rest_event(request);
    event["path"] = json!(format!("{prefix}{path}"));
    event["requestContext"]["path"] = json!(format!("{prefix_in_context}{path}"));
    event["requestContext"]["domainName"] = json!(domain);
    if path == "/" {
        event["resource"] = json!("/");
    } else {
        event["pathParameters"] = json!({ "proxy": path.trim_matches('/') });
    }
    event
}

fn host(url: &str) -> &str {
    url.trim_start_matches("https://")
}

fn deployments() -> Vec<Deployment> {
    let deployment = |name, url: &str, base: &str, event| Deployment {
        name,
        url: format!("{url}{base}"),
        event,
    };
    vec![
        deployment("an HTTP API", EXECUTE_API, "", |request| {
            http(request, "$default", host(EXECUTE_API), "")
        }),
        deployment("an HTTP API's stage", EXECUTE_API, "/dev", |request| {
            http(request, "dev", host(EXECUTE_API), "/dev")
        }),
        deployment(
            "its stage called as a path",
            EXECUTE_API,
            "/posts",
            |request| http(request, "posts", host(EXECUTE_API), "/posts"),
        ),
        deployment("an HTTP API's domain", CUSTOM, "", |request| {
            http(request, "$default", host(CUSTOM), "")
        }),
        deployment("a domain of a stage", CUSTOM, "", |request| {
            http(request, "dev", host(CUSTOM), "/dev")
        }),
        deployment("a domain with a mapping", CUSTOM, "/v1", |request| {
            http(request, "$default", host(CUSTOM), "")
        }),
        deployment("a mapping of a stage", CUSTOM, "/v1", |request| {
            http(request, "dev", host(CUSTOM), "/dev")
        }),
        deployment(
            "a mapping that the event tells",
            CUSTOM,
            "/v1/api",
            |request| {
                let path = path_of(&request);
                let mut event = http(request, "$default", host(CUSTOM), "/v1/api");
                event["routeKey"] = json!("ANY /{proxy+}");
                event["pathParameters"] = json!({ "proxy": path.trim_matches('/') });
                event
            },
        ),
        deployment("payload 1.0 of a stage", EXECUTE_API, "/dev", |request| {
            let mut event = rest(request, host(EXECUTE_API), "/dev", "/dev");
            event["version"] = json!("1.0");
            event["requestContext"]["stage"] = json!("dev");
            event
        }),
        deployment(
            "a function URL",
            "https://id.lambda-url.eu-central-1.on.aws",
            "",
            |request| http(request, "$default", "id.lambda-url.eu-central-1.on.aws", ""),
        ),
        deployment("a REST API", EXECUTE_API, "/live", |request| {
            rest(request, host(EXECUTE_API), "", "/live")
        }),
        deployment("a REST API's domain", CUSTOM, "", |request| {
            rest(request, host(CUSTOM), "", "")
        }),
        deployment("a REST API's mapping", CUSTOM, "/v1/api", |request| {
            rest(request, host(CUSTOM), "/v1/api", "/v1/api")
        }),
        deployment(
            "a mapping called as the stage",
            CUSTOM,
            "/live",
            |request| rest(request, host(CUSTOM), "/live", "/live"),
        ),
        deployment("an emulator", EXECUTE_API, "/live", |request| {
            let mut event = rest(request, host(EXECUTE_API), "/live", "/live");
            event["pathParameters"] = Value::Null;
            event
        }),
        deployment(
            "a test event of the console",
            EXECUTE_API,
            "/live",
            |request| {
                let mut event = rest(request, host(EXECUTE_API), "/live", "");
                let context = event["requestContext"].as_object_mut().unwrap();
                context.retain(|name, _| name == "stage");
                event["pathParameters"] = Value::Null;
                event
            },
        ),
    ]
}

#[tokio::test]
async fn the_next_page_and_what_was_made_are_found_below_every_prefix() {
    for deployment in deployments() {
        let world = World::new(Door::Event).await;
        let ann = world.join("ann").await;
        let post = json!({ "title": "title", "content": "content" });
        for (number, path) in (1..).zip(["/posts", "/posts/"]) {
            let create = Request::post(path).bearer(&ann.access_token).json(&post);
            let made = deployment.send(&world, create).await;
            assert_eq!(made.status, 201, "{}: {}", deployment.name, made.text());
            let location = made.location(&format!("{}{path}", deployment.url));
            let location = deployment.within(&location);
            assert_eq!(location, format!("/posts/{number}"), "{}", deployment.name);
            let read = deployment.send(&world, Request::get(location)).await;
            assert_eq!(read.json()["Post"]["id"], number, "{}", deployment.name);
        }
        let account = json!({ "email": "ben@example.com", "password": "an unusual password" });
        let made = deployment
            .send(&world, Request::post("/users/").json(&account))
            .await;
        let location = made.location(&format!("{}/users/", deployment.url));
        assert_eq!(
            deployment.within(&location),
            format!("/users/{}", made.json()["id"])
        );

        for path in ["/posts?limit=1", "/posts/?limit=1&search=it%6Ce"] {
            let first = deployment.send(&world, Request::get(path)).await;
            assert_eq!(first.json()[0]["Post"]["id"], 2, "{}", deployment.name);
            let next = first
                .next_page(&format!("{}{path}", deployment.url))
                .unwrap();
            let next = deployment.within(&next);
            assert!(next.starts_with(path.split('?').next().unwrap()), "{next}");
            let second = deployment.send(&world, Request::get(next)).await;
            assert_eq!(second.json()[0]["Post"]["id"], 1, "{}", deployment.name);
            assert_eq!(second.header("link"), None);
        }
    }
}

#[tokio::test]
async fn a_browser_finds_the_documentation_below_every_prefix() {
    let world = World::new(Door::Event).await;
    for deployment in deployments() {
        let name = deployment.name;
        let has_base = deployment.url.matches('/').count() > 2;
        // An HTTP API tells its mapping to nobody, not even where it was asked for without a slash.
        let is_untold = name == "a domain with a mapping" || name == "a mapping of a stage";
        for slash in ["/", ""] {
            if slash.is_empty() && (!has_base || is_untold) {
                continue;
            }
            let root = |accept: &str| {
                let mut event = (deployment.event)(Request::get("/").header("accept", accept));
                if slash.is_empty() {
                    for pointer in ["/rawPath", "/requestContext/path", "/path"] {
                        if let Some(Value::String(path)) = event.pointer_mut(pointer) {
                            // A REST API tells the root as a slash.
                            if path.len() > 1 {
                                path.pop();
                            }
                        }
                    }
                }
                event
            };
            let asked = format!("{}{slash}", deployment.url);
            let answer = world.send_event("/", root("text/html")).await;
            assert_eq!(answer.status, 302, "{name}: {}", answer.text());
            let docs = answer.location(&asked);
            assert_eq!(deployment.within(&docs), "/docs", "{name} {slash}");
            let about = world.send_event("/", root("*/*")).await;
            assert_eq!(about.status, 200, "{name}: {}", about.text());
            for (member, path) in [
                ("docs", "/docs"),
                ("redoc", "/redoc"),
                ("openapi", "/openapi.json"),
            ] {
                let reference = about.json()[member].as_str().unwrap().to_owned();
                let there = crate::world::resolve(&asked, &reference);
                assert_eq!(deployment.within(&there), path, "{name} {slash}");
                let answer = deployment.send(&world, Request::get(path)).await;
                assert_eq!(answer.status, 200, "{name} {path}");
            }
        }
        for page in ["/docs", "/docs/"] {
            let answer = deployment.send(&world, Request::get(page)).await;
            let html = answer.text();
            let script = html
                .split("src=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            let asked = format!("{}{page}", deployment.url);
            let script = crate::world::resolve(&asked, script);
            let there = deployment
                .send(&world, Request::get(deployment.within(&script)))
                .await;
            assert_eq!(there.status, 200, "{name} {page} {script}");
        }
        // What the document leads to, it leads to from where it is.
        let document = deployment
            .send(&world, Request::get("/openapi.json"))
            .await
            .json();
        let asked = format!("{}/openapi.json", deployment.url);
        let server = crate::world::resolve(&asked, document["servers"][0]["url"].as_str().unwrap());
        assert_eq!(deployment.within(&server), "/", "{name}");
        let flow = &document["components"]["securitySchemes"]["login"]["flows"]["password"];
        let login = crate::world::resolve(&asked, flow["tokenUrl"].as_str().unwrap());
        assert_eq!(deployment.within(&login), "/auth/login", "{name}");
    }
}

#[tokio::test]
async fn what_only_looks_like_a_prefix_is_part_of_the_path() {
    let world = World::new(Door::Event).await;
    let list = |path: &str| Request::get(path);
    for (name, event) in [
        (
            "another stage",
            http(list("/posts"), "dev", host(EXECUTE_API), "/live"),
        ),
        (
            "a longer name",
            http(list("/posts"), "dev", host(EXECUTE_API), "/devel"),
        ),
        (
            "a stage within",
            rest(list("/live/posts"), host(EXECUTE_API), "", "/live"),
        ),
        (
            "a path before",
            rest(list("/nothing/posts"), host(CUSTOM), "", ""),
        ),
        (
            "no prefix of a stage",
            http(list("/nothing/posts"), "$default", host(CUSTOM), ""),
        ),
    ] {
        let answer = world.send_event("/posts", event).await;
        assert_eq!(answer.status, 404, "{name}");
        answer.assert_detail(404, "Not Found");
    }
}
