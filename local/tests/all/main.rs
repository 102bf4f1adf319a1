//! Every test of the API: over HTTP and by Lambda events, against a real PostgreSQL.

// A helper that cannot go on fails the test that called it, which is what unwrap does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod world;

mod accounts;
mod addresses;
mod adopt;
mod api_http;
mod attempts;
mod audit;
mod callers;
mod commands;
mod common_passwords;
mod credentials;
mod custom_resource;
mod document;
mod event_files;
mod events;
mod faults;
mod found;
#[cfg(target_os = "linux")]
mod freezes;
mod grace;
mod input;
mod keys;
mod limit_tables;
mod limits;
mod line_endings;
mod lock_order;
mod login;
mod login_form;
mod login_multipart;
mod logout;
mod logs;
mod metrics;
mod migrations;
mod origins;
mod own_sessions;
mod pages;
mod panics;
mod password_change;
mod passwords;
mod plans;
mod posts_create;
mod posts_list;
mod posts_pages;
mod posts_search;
mod posts_update;
mod private_postgres;
mod processes;
mod proxies;
mod readme;
mod recorded;
mod refresh;
mod routes;
mod secrets;
mod settings;
mod sign_up_limits;
mod smoke;
mod sources;
mod stand_ins;
mod statements;
mod stored_hashes;
mod template;
mod tls;
mod tokens;
mod unanalyzed;
mod users;
mod vanishing;
mod vote_counts;
mod votes;
mod votes_at_once;
