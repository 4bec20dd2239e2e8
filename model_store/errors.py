"""What can be wrong with a store, with a picture, and with a sound.

StoreError
├── NotInStore        no such model, version or alias
├── BadName           a model, alias or file name that the layout cannot hold
├── BadManifest       the manifest cannot be read or contradicts itself
│   └── NewerSchema   a newer release wrote it in a schema that this one does not know
├── BadConfig         a Triton configuration cannot be read or contradicts itself
├── BadLayout         a file is not where it is expected, cannot be read, or is reached by a link out of the store
├── StillUsed         a version or alias that something else names
├── NotWritable       a folder of the store cannot be changed
├── BadGraph          ONNX Runtime cannot load an ONNX file, or requests cannot carry its tensors
├── IntegrityError    a file is missing, added, or not the one that was published
├── NotSigned         a version has no signature, or none that counts here
├── BadKey            a key or a certificate cannot be used
└── RemoteError       a remote store cannot be used
    └── RemoteAway    it does not answer now, or it is not there now

PictureError
├── UnreadablePicture no picture, a damaged one, or one of a kind that is not read
└── PictureTooLarge   more pixels than are allowed

SoundError
├── UnreadableSound   no sound, a damaged one, or one of a kind that is not read
├── SoundTooLong      longer than is allowed
└── SoundTooShort     shorter than the model takes
"""


class StoreError(Exception):
    """A fault of the store that its owner can fix; the text says how."""


class NotInStore(StoreError):
    pass


class BadName(StoreError):
    pass


class BadManifest(StoreError):
    pass


class NewerSchema(BadManifest):
    pass


class BadConfig(StoreError):
    pass


class BadLayout(StoreError):
    pass


class StillUsed(StoreError):
    pass


class NotWritable(StoreError):
    pass


class BadGraph(StoreError):
    pass


class IntegrityError(StoreError):
    pass


class NotSigned(StoreError):
    pass


class BadKey(StoreError):
    pass


class RemoteError(StoreError):
    pass


class RemoteAway(RemoteError):
    """It may come back: asking again may help."""


class PictureError(Exception):
    """A picture that cannot become a row; the text tells its sender why."""


class UnreadablePicture(PictureError):
    pass


class PictureTooLarge(PictureError):
    pass


class SoundError(Exception):
    """A sound that cannot become a row; the text tells its sender why."""


class UnreadableSound(SoundError):
    pass


class SoundTooLong(SoundError):
    pass


class SoundTooShort(SoundError):
    pass


def first_line(error: BaseException) -> str:
    """The first line of the error's text, or the name of its type if the text is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def escape(text: str) -> str:
    """A text for messages, with what cannot be printed escaped: it must not control a terminal or begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
