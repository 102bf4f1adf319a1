//! `PUT` and `DELETE /posts/{id}`: owners rewrite and delete their posts, and nobody else does.

use serde_json::{Value, json};

use crate::world::{Answer, Person, Request, World};

at_both_doors! {
    async fn an_owner_rewrites_a_post(world: World) {
        let ann = world.join("ann").await;
        let (post, other) = (
            ann.publishes(&world, "old").await,
            ann.publishes(&world, "other").await,
        );
        let before = read(&world, &ann, post).await.json();
        let answer = world
            .send(put(
                &ann,
                post,
                &json!({ "title": "new", "content": "new text", "is_published": false }),
            ))
            .await;
        let after = json!({
            "title": "new", "content": "new text", "is_published": false,
            "id": post, "created_at": before["Post"]["created_at"], "owner": ann.whole(),
        });
        answer.assert(200, &after);
        read(&world, &ann, post)
            .await
            .assert(200, &json!({ "Post": after, "votes": 0 }));
        assert_eq!(
            read(&world, &ann, other).await.json()["Post"]["title"],
            "other"
        );
    }

    async fn a_post_stays_as_public_as_it_was_unless_told_otherwise(world: World) {
        let ann = world.join("ann").await;
        for (is_published, said, then) in [
            (true, None, true),
            (false, None, false),
            (true, Some(false), false),
            (false, Some(true), true),
            (true, Some(true), true),
            (false, Some(false), false),
        ] {
            let post = if is_published {
                ann.publishes(&world, "t").await
            } else {
                ann.drafts(&world, "t").await
            };
            let mut edit = json!({ "title": "new", "content": "new" });
            if let Some(said) = said {
                edit["is_published"] = json!(said);
            }
            let answer = world.send(put(&ann, post, &edit)).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["is_published"]),
                (200, &json!(then)),
                "{is_published} {said:?}"
            );
            assert_eq!(
                read(&world, &ann, post).await.json()["Post"]["is_published"],
                json!(then)
            );
        }
    }

    async fn nobody_changes_id_owner_or_time(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "old").await;
        let before = read(&world, &ann, post).await.json();
        let edit = json!({
            "title": "new", "content": "new", "id": post + 1, "owner_id": bob.id,
            "owner": { "id": bob.id }, "created_at": "2001-01-01T00:00:00Z",
        });
        let after = json!({
            "title": "new", "content": "new", "is_published": true,
            "id": post, "created_at": before["Post"]["created_at"], "owner": ann.whole(),
        });
        world.send(put(&ann, post, &edit)).await.assert(200, &after);
        read(&world, &ann, post)
            .await
            .assert(200, &json!({ "Post": after, "votes": 0 }));
        let owned = format!(
            "select count(*) from posts where id = {post} and owner_id = {}",
            ann.id
        );
        assert_eq!(world.number(&owned).await, 1);
    }

    async fn a_published_post_of_somebody_else_is_not_ours_to_change(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let post = ann.publishes(&world, "title").await;
        let before = read(&world, &ann, post).await.json();
        for request in [
            put(&bob, post, &json!({ "title": "mine", "content": "" })),
            delete(&bob, post),
        ] {
            world
                .send(request)
                .await
                .assert_detail(403, "Not authorized to perform requested action");
        }
        read(&world, &ann, post).await.assert(200, &before);
    }

    async fn a_draft_of_somebody_else_does_not_exist(world: World) {
        let (ann, bob) = (world.join("ann").await, world.join("bob").await);
        let draft = ann.drafts(&world, "draft").await;
        let before = read(&world, &ann, draft).await.json();
        let not_found = format!("Post with id: {draft} not found");
        for request in [
            Request::get(&format!("/posts/{draft}")),
            Request::get(&format!("/posts/{draft}")).bearer(&bob.access_token),
            put(
                &bob,
                draft,
                &json!({ "title": "mine", "content": "", "is_published": true }),
            ),
            delete(&bob, draft),
        ] {
            world.send(request).await.assert_detail(404, &not_found);
        }
        read(&world, &ann, draft).await.assert(200, &before);
    }

    async fn what_is_not_there_cannot_be_read_changed_or_deleted(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        let huge = "9".repeat(40);
        for id in [
            &(post + 1).to_string(),
            "0",
            "-1",
            "2147483648",
            "9223372036854775808",
            &huge,
            &format!("-{huge}"),
        ] {
            for method in ["GET", "PUT", "DELETE"] {
                let request =
                    Request::new(method, &format!("/posts/{id}")).bearer(&ann.access_token);
                let answer = world
                    .send(request.json(&json!({ "title": "t", "content": "" })))
                    .await;
                answer.assert_detail(404, &format!("Post with id: {id} not found"));
            }
        }
        for id in ["one", "1e3", "1.5", "%20", "1%00", "%FF", "0x10", "--1"] {
            for method in ["GET", "PUT", "DELETE"] {
                let request =
                    Request::new(method, &format!("/posts/{id}")).bearer(&ann.access_token);
                let answer = world
                    .send(request.json(&json!({ "title": "t", "content": "" })))
                    .await;
                answer.assert_problems(&[("int_parsing", json!(["path", "id"]))]);
            }
        }
        assert_eq!(world.number("select count(*) from posts").await, 1);
    }

    async fn all_that_is_wrong_with_an_edit_is_told_at_once(world: World) {
        let ann = world.join("ann").await;
        let post = ann.publishes(&world, "title").await;
        let wrong = json!({ "title": "a".repeat(301), "is_published": null });
        let body = [
            ("string_too_long", json!(["body", "title"])),
            ("missing", json!(["body", "content"])),
            ("bool_type", json!(["body", "is_published"])),
        ];
        world
            .send(put(&ann, post, &wrong))
            .await
            .assert_problems(&body);
        // What is wrong with the fields is told before what is not there.
        world
            .send(put(&ann, post + 1, &wrong))
            .await
            .assert_problems(&body);
        let request = Request::put("/posts/one")
            .bearer(&ann.access_token)
            .json(&wrong);
        let mut all = vec![("int_parsing", json!(["path", "id"]))];
        all.extend(body);
        world.send(request).await.assert_problems(&all);
        assert_eq!(
            read(&world, &ann, post).await.json()["Post"]["title"],
            "title"
        );
    }

    async fn a_deleted_post_is_gone(world: World) {
        let ann = world.join("ann").await;
        for gone in [
            ann.publishes(&world, "post").await,
            ann.drafts(&world, "draft").await,
        ] {
            let kept = ann.publishes(&world, "kept").await;
            assert_eq!(world.send(ann.ballot(gone, 1)).await.status, 201);
            let answer = world.send(delete(&ann, gone)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (204, String::new())
            );
            assert_eq!(answer.header("content-type"), None);
            answer.assert_common();

            let not_found = format!("Post with id: {gone} not found");
            read(&world, &ann, gone)
                .await
                .assert_detail(404, &not_found);
            world
                .send(delete(&ann, gone))
                .await
                .assert_detail(404, &not_found);
            for table in ["votes", "vote_counts"] {
                assert_eq!(
                    world.number(&format!("select count(*) from {table}")).await,
                    0
                );
            }
            assert_eq!(read(&world, &ann, kept).await.status, 200);
        }
    }
}

fn put(person: &Person, post: i64, edit: &Value) -> Request {
    Request::put(&format!("/posts/{post}"))
        .bearer(&person.access_token)
        .json(edit)
}

fn delete(person: &Person, post: i64) -> Request {
    Request::delete(&format!("/posts/{post}")).bearer(&person.access_token)
}

async fn read(world: &World, person: &Person, post: i64) -> Answer {
    let request = Request::get(&format!("/posts/{post}"));
    world.send(request.bearer(&person.access_token)).await
}
