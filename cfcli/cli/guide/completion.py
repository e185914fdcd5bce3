"""Completion of command lines in bash, zsh and fish, by the protocol of click 8: the shell calls
cfcli with ``_CFCLI_COMPLETE`` and the words so far, and gets one candidate a line.

It answers a key press, so it imports no library and opens no file but those of ``runs/``.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfcli.core.config.fields import Key, keys_of
from cfcli.core.config.prepare import PrepareConfig
from cfcli.core.config.train import TrainConfig
from cfcli.core.errors import ConfigError, MachineError

HELP = "Show the help of a command."
DATASETS = (
    "sample", "ml-latest-small", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m",
)  # fmt: skip
TABLES: dict[str, tuple[type[PrepareConfig] | type[TrainConfig], ...]] = {  # of --set; else both
    "prepare": (PrepareConfig,),
    "train": (TrainConfig,),
    "plan": (TrainConfig,),
}
BASH = """\
_cfcli_completion() {
    local IFS=$'\\n' line kind
    COMPREPLY=()
    for line in $(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
            _CFCLI_COMPLETE=bash_complete $1); do
        kind=${line%%,*}
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("${line#*,}") ;;
        esac
        [[ $line == *= ]] && compopt -o nospace
    done
}
complete -o nosort -F _cfcli_completion cfcli
"""
ZSH = """\
#compdef cfcli
_cfcli_completion() {
    local -a plain described answer
    local kind key text
    answer=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        _CFCLI_COMPLETE=zsh_complete cfcli)}")
    for kind key text in ${answer}; do
        case $kind in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            *) if [[ $text == _ ]]; then plain+=("$key")
               else described+=("${key//:/\\\\:}:$text"); fi ;;
        esac
    done
    [[ -n $described ]] && _describe -V unsorted described -U
    [[ -n $plain ]] && compadd -U -V unsorted -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _cfcli_completion "$@"
else
    compdef _cfcli_completion cfcli
fi
"""
FISH = """\
function _cfcli_completion
    for line in (env _CFCLI_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \\
            COMP_CWORD=(commandline -t) cfcli)
        set -l parts (string split -m 1 "," $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case "*"
                echo $parts[2]
        end
    end
end
complete --no-files --command cfcli --arguments "(_cfcli_completion)"
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@dataclass(frozen=True)
class Candidate:
    """A word that may stand there.

    Attributes:
        word: the whole of it; for a name of a file or folder, what has been typed.
        text: what it is, where that is worth saying.
        kind: ``plain``, or ``file`` or ``dir`` where the shell completes the name.
    """

    word: str
    text: str = ""
    kind: str = "plain"


def script(shell: str) -> str:
    """The script that makes a shell ask cfcli.

    Args:
        shell: bash, zsh or fish.

    Raises:
        ConfigError: another one.
    """
    if shell not in SCRIPTS:
        raise ConfigError(f"'{shell}' is not one of {', '.join(SCRIPTS)}")
    return SCRIPTS[shell]


def install(shell: str) -> str:
    """Writes the script where the shell finds it, and a line into its start-up file if it needs
    one.

    Args:
        shell: bash, zsh or fish.

    Returns:
        What was written, and what to do next.

    Raises:
        ConfigError: another shell.
        MachineError: a file cannot be written.
    """
    text, home = script(shell), Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    file, startup, line = {
        "bash": (data / "cfcli/completion.bash", home / ".bashrc", "test -f {0} && source {0}"),
        "zsh": (data / "cfcli/completion.zsh", home / ".zshrc", "test -f {0} && source {0}"),
        "fish": (settings / "fish/completions/cfcli.fish", None, ""),
    }[shell]
    line = line.format(shlex.quote(str(file)))
    if shell == "zsh":
        line = f"autoload -Uz compinit && compinit; {line}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if startup:
            with startup.open("a+b") as end:
                end.seek(0)
                if line.encode() not in end.read():
                    end.write(f"\n{line}\n".encode())
    except OSError as error:
        raise MachineError(f"{error.filename}: {error.strerror}") from None
    where = f"{file}, read by {startup}" if startup else str(file)
    return f"{where}; it works in every new {shell}"


def answer(instruction: str, group: Any, commands: Iterable[str], about: Callable[..., str]) -> str:
    """What the shell gets.

    Args:
        instruction: the value of ``_CFCLI_COMPLETE``, such as ``bash_complete``.
        group: click's, with all commands.
        commands: their names.
        about: gives the summary of a command.
    """
    shell, _, what = instruction.partition("_")
    if what != "complete":
        return script(shell)
    words, last = _words(shell)
    found = _candidates(words, last, group, [*commands, "help"], about)
    if shell == "zsh":
        return "".join(f"{c.kind}\n{c.word}\n{c.text or '_'}\n" for c in found)
    if shell == "fish":
        return "".join(f"{c.kind},{c.word}" + f"\t{c.text}" * bool(c.text) + "\n" for c in found)
    # Bash takes KEY=VALUE for three words, and replaces the last.
    start = last.rfind("=") + 1
    return "".join(f"{c.kind},{c.word[start:]}\n" for c in found)


def _words(shell: str) -> tuple[list[str], str]:
    """The whole words behind ``cfcli``, and the one that is being typed."""
    text = os.environ.get("COMP_WORDS", "")
    place = os.environ.get("COMP_CWORD", "")
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # an open quote
        words = text.split()
    if shell == "fish":
        return words[1 : -1 if place and words[-1:] == [place] else None], place
    at = int(place or 0)
    last = words[at] if at < len(words) else ""
    words = words[1:at]
    if shell == "bash":
        while words and (last.startswith("=") or words[-1].endswith("=")):
            last = words.pop() + last
    return words, last


def _candidates(
    words: list[str], last: str, group: Any, commands: list[str], about: Callable[..., str]
) -> list[Candidate]:
    """What may stand in place of ``last``, behind ``words``."""
    names = [word for word in words if word in commands]
    if not names or (names == ["help"] and not last.startswith("-")):
        if words and words[-1].endswith("-completion"):
            return _starting(map(Candidate, SCRIPTS), last)
        if last.startswith("-"):
            return _flags(group.params, last)
        begun = [name for name in commands if name.startswith(last)]
        return [Candidate(name, HELP if name == "help" else about(name)) for name in begun]
    name = next((each for each in names if each != "help"), "")
    params = group.get_command(None, name).params if name else []
    options = {opt: param for param in params for opt in param.opts if opt.startswith("-")}
    before = words[-1] if words else ""
    flag, equals, start = last.partition("=")
    if equals and flag in options:
        found = _values(options[flag], start, words)
        return [Candidate(f"{flag}={c.word}", c.text, c.kind) for c in found]
    if before in options and not options[before].is_flag:
        return _values(options[before], last, words)
    if last.startswith("-"):
        return _flags(params, last)
    arguments = [param for param in params if param.param_type_name == "argument"]
    found = [c for param in arguments for c in _values(param, last, words)]
    return list(dict.fromkeys(found))


def _starting(found: Iterable[Candidate], last: str) -> list[Candidate]:
    return [candidate for candidate in found if candidate.word.startswith(last)]


def _flags(params: Iterable[Any], last: str) -> list[Candidate]:
    """Flags; rare ones only when their name has been begun."""
    found = []
    for param in params:
        for opt in (*param.opts, *param.secondary_opts):
            if opt.startswith("--") and (len(last) > 2 or not param.hidden):
                found.append(Candidate(opt, _first_sentence(param.help or "")))
    found.append(Candidate("--help", "Show the help."))
    return _starting(found, last)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) |[;:] ", text)[0]


def _values(param: Any, last: str, words: list[str]) -> list[Candidate]:
    """What a flag or an argument takes."""
    name, metavar = param.name, param.metavar or ""
    command = next((word for word in words if word in TABLES), "")
    tables = TABLES.get(command, (PrepareConfig, TrainConfig))
    keys: dict[str, Key] = {k: key for table in tables for k, key in keys_of(table).items()}
    if name == "set":
        return _settings(keys, last)
    if name == "dataset":
        return _starting(map(Candidate, DATASETS), last)
    if name == "to":
        store = words[words.index("--store") + 1] if "--store" in words[:-1] else ""
        return _starting(map(Candidate, _folders(Path(store) / "runs")), last)
    if choices := _choices(param, keys):
        return _starting(map(Candidate, choices), last)
    own: list[str] = []
    if "RUN" in metavar:
        own = [f"runs/{run}" for run in _folders(Path("runs"))]
        own += [str(path / "current") for path in _holding("runs") if (path / "current").exists()]
    elif name == "data":
        own = [str(path) for path in _holding("dataset.json")]
    elif name == "store":
        own = [str(path) for path in _holding("current")]
    found = _starting(map(Candidate, own), last)
    if not found and metavar.startswith(("DIR", "[RUN]", "RUN")):
        return [Candidate(last, kind="dir")]
    if "FILE" in metavar or name in ("ratings", "pairs"):
        return [*found, Candidate(last, kind="file")]
    return found


def _choices(param: Any, keys: dict[str, Key]) -> list[str]:
    """The values that there are, where they are few."""
    if choices := param.type_descriptor.choices:
        return [str(choice) for choice in choices]
    return keys[param.name].choices if param.name in keys else []


def _settings(keys: dict[str, Key], last: str) -> list[Candidate]:
    """KEY= for every key, and KEY=VALUE where the values are few."""
    name, equals, _ = last.partition("=")
    if not equals:
        found = (Candidate(f"{k}=", _first_sentence(keys[k].facts.help)) for k in keys)
        return _starting(found, last)
    if name not in keys:
        return []
    values = keys[name].choices or ["true", "false"] * (keys[name].hint in (bool, bool | None))
    return _starting((Candidate(f"{name}={value}") for value in values), last)


def _folders(place: Path) -> list[str]:
    """The names of the folders in one, the newest first by name."""
    try:
        names = [entry.name for entry in os.scandir(place) if entry.is_dir()]
    except OSError:
        return []
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def _holding(name: str) -> list[Path]:
    """The folders here in which a file or folder of this name is."""
    return [Path(each) for each in sorted(_folders(Path())) if os.path.lexists(Path(each) / name)]
