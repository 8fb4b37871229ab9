"""What the scripted providers are told to do (grammar: fixtures/README.md)."""

import json


def call(tool, **arguments):
    return f"[call: {tool} {json.dumps(arguments)}]"


def note(world):
    return call("files-read_text_file", path=f"{world.files}/note.txt")
