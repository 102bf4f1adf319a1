"""From sign-up to logout with the client that openapi-python-client generated: its functions and its types."""

import sys

from social_media_api_client import AuthenticatedClient, Client
from social_media_api_client.api.accounts import get_me, sign_up
from social_media_api_client.api.posts import create_post, get_post, list_posts
from social_media_api_client.api.sessions import log_in, log_out, refresh_tokens
from social_media_api_client.api.votes import cast_vote
from social_media_api_client.models import (
    Ballot,
    BallotDir,
    Credentials,
    Error,
    Message,
    NewPost,
    NewUser,
    Post,
    PostWithVotes,
    PresentedToken,
    TokenPair,
    User,
)

API = sys.argv[1]
EMAIL = "python@example.com"
PASSWORD = "opal-lantern-42"

anyone = Client(base_url=API, raise_on_unexpected_status=True)


def enter(email: str) -> TokenPair:
    pair = log_in.sync(client=anyone, body=Credentials(username=email, password=PASSWORD))
    assert isinstance(pair, TokenPair), pair
    return pair


def caller_of(pair: TokenPair) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=API, token=pair.access_token, raise_on_unexpected_status=True)


def main() -> None:
    user = sign_up.sync(client=anyone, body=NewUser(email=EMAIL, password=PASSWORD))
    assert isinstance(user, User), user
    again = sign_up.sync(client=anyone, body=NewUser(email=EMAIL, password=PASSWORD))
    assert isinstance(again, Error), again
    assert again.detail == f"An account with email '{EMAIL}' already exists"

    pair = enter(EMAIL)
    caller = caller_of(pair)
    assert get_me.sync(client=caller) == user

    post = create_post.sync(client=caller, body=NewPost(title="From Python", content="By a generated client"))
    assert isinstance(post, Post), post
    assert (post.title, post.owner, post.is_published) == ("From Python", user, True)

    vote = cast_vote.sync(client=caller, body=Ballot(post_id=post.id, dir_=BallotDir.VALUE_1))
    assert vote == Message(message="Successfully added vote"), vote

    listed = list_posts.sync(client=caller, search="from python")
    assert listed == [PostWithVotes(post=post, votes=1)], listed
    # Anyone else sees the address of its owner masked. This generator wants a token where one is optional.
    sign_up.sync(client=anyone, body=NewUser(email="other@example.com", password=PASSWORD))
    masked = get_post.sync(post.id, client=caller_of(enter("other@example.com")))
    assert isinstance(masked, PostWithVotes), masked
    assert masked.post.owner.email == "p***@example.com"

    new_pair = refresh_tokens.sync(client=anyone, body=PresentedToken(refresh_token=pair.refresh_token))
    assert isinstance(new_pair, TokenPair), new_pair
    bye = log_out.sync(client=anyone, body=PresentedToken(refresh_token=new_pair.refresh_token))
    assert bye == Message(message="Successfully logged out"), bye
    refused = get_me.sync(client=caller)
    assert isinstance(refused, Error), refused
    assert refused.detail == "Could not validate credentials"


main()
print("The generated Python client signed up, logged in, posted, voted, refreshed and logged out.")
