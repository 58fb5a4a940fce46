"""The command line: serves by default, chats with a server, or checks an adapter.

Each command imports its own part only: serving must answer within half a second, and a chat needs no model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_RAW = argparse.RawDescriptionHelpFormatter
_ABOUT = "A chat model with its LoRA adapter, served: a page, an OpenAI-compatible API, probes and metrics."
_MORE = """\
Without a command it serves, set up by environment variables; PORT is 7860 by default.

examples:
  BASE_MODEL_DIR=/models/phi ADAPTER_DIR=/adapters/pirate python -m inference
  BASE_MODEL_DIR=/models/phi BASE_ONLY=1 python -m inference
  python -m inference chat --url https://chat.example.org
  python -m inference check-adapter /adapters/pirate --base /models/phi

exit status of serving: 0 after SIGTERM, 1 when loading failed, 2 without a usable port,
128 and the signal's number when a second signal cut the shutdown short
"""
_CHAT = """\
Ctrl-C stops an answer, Ctrl-D ends the chat, /help tells the rest. The API's key comes from the environment
variable API_KEY.

exit status: 0, 1 without an answer, 2 wrong usage, 3 without a server, 130 interrupted

examples:
  python -m inference chat
  API_KEY=… python -m inference chat --url https://chat.example.org --system "Be brief."
  python -m inference chat --once "Count down from 5." --temperature 0
"""
_CHECK = """\
exit status: 0 it can be served, 1 it can't, 2 wrong usage or no base model there

examples:
  python -m inference check-adapter /adapters/pirate
  python -m inference check-adapter /adapters/pirate --base /models/phi -o json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in `arguments`; its exit status. Serving ends the process by itself."""
    chosen = _parser().parse_args(arguments)
    if chosen.command == "chat":
        from inference import console

        given = {name: value for name, value in vars(chosen).items() if name not in ("command", "url")}
        return console.main(chosen.url, **given)
    if chosen.command == "check-adapter":
        from inference import adapters

        return adapters.main_check(chosen.folder, chosen.base, as_json=chosen.output == "json")
    from inference import boot

    return boot.main()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference", description=_ABOUT, epilog=_MORE, formatter_class=_RAW)
    commands = parser.add_subparsers(dest="command", metavar="command")
    about = "talk to a running server in the terminal"
    chat = commands.add_parser("chat", help=about, description=about, epilog=_CHAT, formatter_class=_RAW)
    chat.add_argument("--url", default="http://127.0.0.1:7860", help="where the server is; %(default)s by default")
    for name, kind, told in (
        ("--model", str, "the model to ask for; by default the one that the server has"),
        ("--system", str, "the system prompt"),
        ("--temperature", float, "0 gives the same answer each time"),
        ("--once", str, "ask this and end; - reads it from standard input"),
    ):
        # Left out where it isn't given: the defaults are the console's.
        chat.add_argument(name, type=kind, default=argparse.SUPPRESS, help=told)
    about = "judge an adapter's folder without loading the model"
    check = commands.add_parser("check-adapter", help=about, description=about, epilog=_CHECK, formatter_class=_RAW)
    check.add_argument("folder", type=Path, metavar="DIR", help="the adapter's folder")
    check.add_argument("--base", type=Path, metavar="DIR", help="the base model's folder, to see whether it fits")
    check.add_argument("-o", "--output", choices=("text", "json"), default="text", help="%(default)s by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
