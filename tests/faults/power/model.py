"""A disk of a model: files are inodes, what was done to them is a list, and the power may go after each of it.

What a power cut may do: contents, size, mode and time of a file that was not fsynced since may be on the disk or
not, or be zeros of the right length; so may the names in a folder, but those of one folder stay in their order, and a
rename is there or is not. fsync of a file brings the file and not its name; fsync of a folder brings the names in it,
and the symbolic links, which nobody can open.
"""

from __future__ import annotations

import os
import random
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Data:
    """Bytes written to a file."""

    inode: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Size:
    """A file cut or made longer."""

    inode: int
    size: int


@dataclass(frozen=True)
class Meta:
    """A mode or a time of modification given."""

    inode: int
    mode: int | None
    mtime_ns: int | None


@dataclass(frozen=True)
class Names:
    """Names given and (None) taken, all at once: (folder, name, inode)."""

    names: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> set[int]:
        return {folder for folder, _, _ in self.names}


@dataclass(frozen=True)
class Sync:
    """An inode (None: everything) brought to the disk."""

    inode: int | None
    path: str


@dataclass(frozen=True)
class Mark:
    """Nothing on the disk: a word about what comes, or what was said to somebody."""

    text: str


Change = Data | Size | Meta | Names | Sync | Mark
AGE_NS = 100 * 10**9  # of a file whose time nobody set: git looks into those that are as young as its index
Choice = bool | str  # whether a change is on the disk; "zeros": its length is


@dataclass
class Inode:
    """A file, folder or link."""

    kind: str
    mode: int
    target: str = ""
    source: Path | None = None  # where its contents lie, of one that was there before
    mtime_ns: int | None = None
    was: os.stat_result | None = None  # of one that was there before
    names: dict[str, int] = field(default_factory=dict)
    blob: bytearray | None = None
    touched: int = -1  # the last change that was made to it

    def copy(self) -> Inode:
        blob = None if self.blob is None else bytearray(self.blob)
        return replace(self, names=dict(self.names), blob=blob)

    def content(self) -> bytearray:
        if self.blob is None:
            self.blob = bytearray(self.source.read_bytes() if self.source else b"")
        return self.blob

    @property
    def size(self) -> int:
        return len(self.content())


@dataclass(frozen=True)
class Done:
    """A change, and how many were complete when it began."""

    change: Change
    began: int


class Image:
    """Inodes and their names: a disk at one moment."""

    ROOT = 1

    def __init__(self, root: Path, inodes: dict[int, Inode]) -> None:
        self.root, self.inodes = root, inodes

    def copy(self) -> Image:
        return Image(self.root, {number: inode.copy() for number, inode in self.inodes.items()})

    def holds(self, path: str) -> bool:
        """Say whether a path lies on this disk."""
        return path == str(self.root) or path.startswith(f"{self.root}/")

    def inode(self, path: str, follow: bool = True, depth: int = 0) -> int | None:
        """Return what a path names, or None where it names nothing on this disk."""
        if not self.holds(path) or depth > 8:
            return None
        here, at = self.ROOT, str(self.root)
        parts = os.path.relpath(path, self.root).split("/") if path != str(self.root) else []
        for index, part in enumerate(parts):
            found = self.inodes[here].names.get(part)
            if found is None:
                return None
            if self.inodes[found].kind == "link" and (follow or index < len(parts) - 1):
                rest = os.path.join(at, self.inodes[found].target, *parts[index + 1 :])
                return self.inode(os.path.normpath(rest), follow, depth + 1)
            here, at = found, f"{at}/{part}"
        return here

    def apply(self, index: int, change: Change) -> None:
        """Make a change."""
        if isinstance(change, Data):
            blob = self._touched(index, change.inode, None).content()
            blob.extend(bytes(max(0, change.at - len(blob))))
            blob[change.at : change.at + len(change.data)] = change.data
        elif isinstance(change, Size):
            blob = self._touched(index, change.inode, None).content()
            del blob[change.size :]
            blob.extend(bytes(change.size - len(blob)))
        elif isinstance(change, Meta):
            inode = self.inodes[change.inode]
            inode = self._touched(index, change.inode, change.mtime_ns or inode.mtime_ns)
            inode.mode = inode.mode if change.mode is None else change.mode
        elif isinstance(change, Names):
            for folder, name, number in change.names:
                self._touched(index, folder, None).names.pop(name, None)
                if number is not None:
                    self.inodes[folder].names[name] = number

    def _touched(self, index: int, number: int, mtime_ns: int | None) -> Inode:
        inode = self.inodes[number]
        inode.touched, inode.mtime_ns = index, mtime_ns
        return inode

    def paths(self) -> Iterator[tuple[str, int]]:
        """Yield each path below the root, relative to it, with its inode; parents first."""
        waiting = [("", self.ROOT)]
        while waiting:
            above, number = waiting.pop()
            for name, child in self.inodes[number].names.items():
                path = f"{above}{name}"
                yield path, child
                if self.inodes[child].kind == "folder":
                    waiting.append((f"{path}/", child))

    def write(self) -> None:
        """Make the folder of this disk, which must not be there, what the disk is."""
        now_ns = time.time_ns()
        self.root.mkdir()
        first: dict[int, Path] = {self.ROOT: self.root}
        for path, number in self.paths():
            inode, place = self.inodes[number], self.root / path
            if number in first:
                os.link(first[number], place, follow_symlinks=False)
                continue
            first[number] = place
            if inode.kind == "folder":
                place.mkdir()
            elif inode.kind == "link":
                place.symlink_to(inode.target)
            else:
                place.write_bytes(inode.content())
        for number, place in reversed(first.items()):
            inode = self.inodes[number]
            if inode.kind != "link":
                place.chmod(inode.mode)
            mtime_ns = inode.mtime_ns or (None if inode.kind == "folder" else now_ns - AGE_NS)
            if mtime_ns is not None:
                os.utime(place, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def load(root: Path, copy: Path) -> Image:
    """Return the disk that the folder `root` is, whose contents stay in `copy`."""
    image, known = Image(root, {}), dict[tuple[int, int], int]()

    def enter(path: Path) -> int | None:
        st = path.lstat()
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(stat.S_IFMT(st.st_mode))
        if kind is None:
            return None
        if kind == "file" and (st.st_dev, st.st_ino) in known:
            return known[st.st_dev, st.st_ino]
        number = known[st.st_dev, st.st_ino] = len(image.inodes) + 1
        target = os.readlink(path) if kind == "link" else ""
        kept = copy / path.relative_to(root) if kind == "file" else None
        inode = Inode(kind, stat.S_IMODE(st.st_mode), target, kept, st.st_mtime_ns, st)
        image.inodes[number] = inode
        if kind == "folder":
            for child in sorted(path.iterdir()):
                if (entered := enter(child)) is not None:
                    inode.names[child.name] = entered
        return number

    enter(root)
    return image


class Disk(Image):
    """A disk, how it began, and all that was done to it since."""

    def __init__(self, begun: Image) -> None:
        super().__init__(begun.root, begun.copy().inodes)
        self.begun, self.births, self.done = begun, dict[int, Inode](), list[Done]()

    def new(self, kind: str, mode: int, target: str = "") -> int:
        """Return a new inode that has no name yet."""
        number = len(self.inodes) + 1
        self.births[number] = Inode(kind, mode, target)
        self.inodes[number] = self.births[number].copy()
        return number

    def place(self, path: str) -> tuple[int, str]:
        """Return the folder and the name of a path."""
        folder = self.inode(os.path.dirname(path))
        assert folder is not None, f"unknown folder: {path}"
        return folder, os.path.basename(path)

    def do(self, change: Change, began: int) -> None:
        """Make a change and remember it."""
        self.apply(len(self.done), change)
        self.done.append(Done(change, began))

    def settled(self, end: int) -> set[int]:
        """Return which of the first `end` changes are certainly on the disk."""
        safe: set[int] = set()
        waiting: dict[int, list[int]] = defaultdict(list)
        holder: dict[int, int] = {}  # link -> its folder
        for index, (change, began) in enumerate((done.change, done.began) for done in self.done[:end]):
            if isinstance(change, (Data, Size, Meta)):
                waiting[holder.get(change.inode, change.inode)].append(index)
            elif isinstance(change, Names):
                for folder in change.folders:
                    waiting[folder].append(index)
                holder |= {n: folder for folder, _, n in change.names if n and self.inodes[n].kind == "link"}
            elif isinstance(change, Sync):
                for number in [change.inode] if change.inode is not None else list(waiting):
                    self._settle(number, began, waiting, safe)
        return safe

    def _settle(self, number: int, before: int, waiting: dict[int, list[int]], safe: set[int]) -> None:
        ready = [index for index in waiting[number] if index < before]
        waiting[number] = waiting[number][len(ready) :]
        for index in ready:
            safe.add(index)
            change = self.done[index].change
            for folder in change.folders if isinstance(change, Names) else ():
                if folder != number:  # a rename is in both of its folders, and both keep their order
                    self._settle(folder, index + 1, waiting, safe)

    def after_cut(self, end: int, choose: Callable[[Change], Choice]) -> tuple[Image, frozenset[tuple[int, Choice]]]:
        """Return the disk after a cut behind the first `end` changes, and what of them is on it.

        `choose` is asked about each change that nothing had brought to the disk.
        """
        safe, lost, chosen = self.settled(end), set[int](), set[tuple[int, Choice]]()
        for index, done in enumerate(self.done[:end]):
            change = done.change
            choice: Choice = index in safe or choose(change)
            if isinstance(change, Names) and index not in safe and (change.folders & lost or not choice):
                lost |= change.folders
                choice = False
            if choice and not isinstance(change, (Sync, Mark)):
                chosen.add((index, choice))
        return self._image(chosen), frozenset(chosen)

    def _image(self, chosen: set[tuple[int, Choice]]) -> Image:
        image = self.begun.copy()
        image.inodes.update({number: inode.copy() for number, inode in self.births.items()})
        for index, choice in sorted(chosen, key=lambda pair: pair[0]):
            change = self.done[index].change
            if choice == "zeros" and isinstance(change, Data):
                change = replace(change, data=bytes(len(change.data)))
            image.apply(index, change)
        return image

    def moment(self, end: int) -> Image:
        """Return the disk as programs saw it after the first `end` changes."""
        return self._image({(index, True) for index in range(end)})

    def path_of(self, number: int, end: int) -> str:
        """Return a path that an inode had, for a message."""
        found = [path for path, each in self.moment(end).paths() if each == number]
        return found[0] if found else f"inode {number}"

    def unsettled(self, end: int, within: Callable[[str], bool]) -> list[str]:
        """Return the paths, of those that `within` wants, that a cut after `end` changes may take or spoil."""
        safe, now = self.settled(end), self.moment(end)
        names = {number: path for path, number in now.paths()}
        names[self.ROOT] = "."
        spoilt = set()
        for index, done in enumerate(self.done[:end]):
            change = done.change
            if index in safe or isinstance(change, (Sync, Mark)):
                continue
            if isinstance(change, Names):
                wrong = [f"{names[folder]}/{name}" for folder, name, _ in change.names if folder in names]
                spoilt |= {f"{path} (its name)" for path in wrong if within(path)}
            elif within(names.get(change.inode, "")):
                spoilt.add(names[change.inode])
        return sorted(spoilt)


# what a cut may leave


def lost(change: Change) -> Choice:
    """Nothing that was not brought to the disk is there."""
    return False


def kept(change: Change) -> Choice:
    """All is there."""
    return True


def names(change: Change) -> Choice:
    """Names are there, contents are not."""
    return isinstance(change, (Names, Meta))


def zeros(change: Change) -> Choice:
    """Names and lengths are there, contents are zeros."""
    return "zeros" if isinstance(change, Data) else True


def remembered(disk: Disk) -> Callable[[Change], Choice]:
    """What git remembers of files is there, and of the files their names and lengths."""
    given = [each for done in disk.done if isinstance(done.change, Names) for each in done.change.names]
    indexes = {number for _, name, number in given if number and ".index" in name}
    return lambda change: "zeros" if isinstance(change, Data) and change.inode not in indexes else True


def dice(seed: int) -> Callable[[Change], Choice]:
    """Anything may be there."""
    throw = random.Random(seed)

    def choose(change: Change) -> Choice:
        if isinstance(change, Names):
            return throw.random() < 0.9  # one that is lost takes all later ones of its folder along
        return throw.choice([True, True, False, "zeros"])

    return choose
