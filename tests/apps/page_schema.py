"""The labelling page as an OpenAPI document, read off its routes and off the forms it shows."""

import dataclasses
from html.parser import HTMLParser

from starlette.routing import Mount

# What the limits and guards may answer to anything.
_ANYTIME = (400, 401, 403, 404, 405, 413, 415, 429)
_SEEN = {"get": (200, 303), "post": (303,)}
_QUERY = {"/": ("token", "said")}  # no route says what queries it reads


@dataclasses.dataclass
class Form:
    """A form of a page.

    Attributes:
        action: where it goes.
        fields: the schema of each of its fields, by name.
        hidden: what the page itself put into some of them.
    """

    action: str
    fields: dict[str, dict]
    hidden: dict[str, str]


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag == "form":
            self.found.append(Form(known["action"], {}, {}))
        name = known.get("name")
        if name is None or tag not in ("input", "button", "textarea"):
            return
        form, schema = self.found[-1], {"type": "string"}
        if tag == "button":
            choices = form.fields.get(name, {}).get("enum", [])
            schema["enum"] = [*choices, known["value"]]
        if "maxlength" in known:
            schema["maxLength"] = int(known["maxlength"])
        if "required" in known:
            schema["minLength"] = 1
        if known.get("type") == "hidden":
            form.hidden[name] = known["value"]
        form.fields[name] = schema


def forms(html: str) -> dict[str, Form]:
    """The forms of a page, by where they go."""
    parser = _Forms()
    parser.feed(html)
    return {form.action: form for form in parser.found}


def document(routes, shown: dict[str, Form]) -> dict:
    """The OpenAPI document of an application.

    Args:
        routes: of Starlette.
        shown: its forms; every route with POST has one.
    """
    paths = {}
    for route in routes:
        path = f"{route.path}/{{path}}" if isinstance(route, Mount) else route.path_format
        kinds = route.param_convertors
        methods = ("GET",) if isinstance(route, Mount) else route.methods - {"HEAD"}
        for method in map(str.lower, methods):
            operation = paths.setdefault(path, {})[method] = {
                "responses": {
                    str(code): {"description": ""} for code in (*_SEEN[method], *_ANYTIME)
                }
            }
            operation["parameters"] = [
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "schema": {"type": "integer" if "Integer" in type(kind).__name__ else "string"},
                }
                for name, kind in kinds.items()
            ] + [
                {"name": name, "in": "query", "schema": {"type": "string"}}
                for name in _QUERY.get(path, ())
            ]
            if method == "post":
                form = shown[path]
                schema = {
                    "type": "object",
                    "properties": form.fields,
                    "required": sorted(form.fields),
                    "additionalProperties": False,
                }
                operation["requestBody"] = {
                    "required": True,
                    "content": {"application/x-www-form-urlencoded": {"schema": schema}},
                }
    return {"openapi": "3.1.0", "info": {"title": "labelling", "version": "1"}, "paths": paths}
