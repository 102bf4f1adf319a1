"""What no schema says of right requests: which addresses are refused, and how an integer is written."""

import schemathesis
from hypothesis import strategies

schemathesis.openapi.format(
    "idn-email", strategies.from_regex(r"[a-z0-9]{1,20}@[a-z]{1,10}\.example\.(com|org)", fullmatch=True)
)


@schemathesis.hook
def map_body(context, body):
    return written(body)


def written(value):
    """JSON Schema takes 1.0 for an integer, the API does not."""
    match value:
        case dict():
            return {name: written(member) for name, member in value.items()}
        case list():
            return [written(element) for element in value]
        case float() if value.is_integer() and abs(value) < 2**63:
            return int(value)
        case _:
            return value
