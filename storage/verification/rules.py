"""What must be true of a stored namespace: each rule with its code, its weight and what to do when it is broken.

The codes are stable: scripts and alerts may look for them. `docs/verify.md` shows which damage breaks which rule.
"""

from enum import Enum, StrEnum
from typing import Final


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """A promise is broken: something acknowledged is lost, altered or cannot be read."""

    WARNING = "warning"
    """Nothing is lost, but something is there that should not be."""

    INFORMATION = "information"
    """As it should be; listed so that nothing stored goes unmentioned."""


_RESTORE: Final = (
    "Bring the object back from a copy (bucket versions, a backup) under the same name and verify again. Until then "
    "the owner refuses with CORRUPTION what needs it."
)
_CHAIN: Final = (
    "Somebody other than an owner has written to the log. Stop all owners, bring the named object back from a copy, "
    "and find out who else writes to this place."
)
_BUG: Final = (
    "Stored as it was made, so the fault is in what made it: keep a copy of the namespace and report it as a bug. "
    "`export_file` of a snapshot saves what can be read."
)
_LOST: Final = (
    "The state and the log disagree about this document. Keep a copy of the namespace, look the document up in "
    "`history`, write the right state back, and report it as a bug."
)
_COLLECT: Final = (
    "An owner that is at work removes it by itself. If it stays, look for COLLECTION failures in the owner's log: "
    "missing rights to delete, or an object of a foreign name, which stops all collecting."
)
_REMOVE: Final = "Nothing refers to it. Remove it by hand once you know where it comes from."

_AGAIN: Final = (
    "Run the same restore again: it goes on, and takes this away when all is there. Removed by hand it would let half "
    "a database be opened. To give the restore up, remove everything of the namespace."
)


class Rule(Enum):
    """One rule; its name is the code of findings.

    Attributes:
        title: What is wrong where it is broken.
        severity: Of a finding, unless it says otherwise.
        advice: What to do.
    """

    title: str
    severity: Severity
    advice: str

    def __init__(self, title: str, severity: Severity, advice: str) -> None:
        self.title = title
        self.severity = severity
        self.advice = advice

    # The log.
    LOG_NAME_FOREIGN = (
        "in log/ lies something that is no log entry; the namespace cannot be opened",
        Severity.ERROR,
        _REMOVE,
    )
    RESTORE_UNFINISHED = (
        "a restore is at work or was broken off; the namespace cannot be opened",
        Severity.ERROR,
        _AGAIN,
    )
    LOG_ENTRY_MISSING = "a log entry that is still needed is missing", Severity.ERROR, _RESTORE
    LOG_ENTRY_DAMAGED = "a log entry is cut short, altered or unreadable", Severity.ERROR, _RESTORE
    LOG_ENTRY_MISPLACED = "a log entry lies under the name of another position", Severity.ERROR, _CHAIN
    LOG_CHAIN_BROKEN = "a log entry does not follow the one before it", Severity.ERROR, _CHAIN
    LOG_INCARNATION_FOREIGN = "a log entry belongs to another incarnation of the namespace", Severity.ERROR, _CHAIN
    LOG_EPOCH_WRONG = "a log entry is of another epoch than its place demands", Severity.ERROR, _CHAIN
    LOG_SEQ_WRONG = "the seqs of a log entry do not follow those before it", Severity.ERROR, _CHAIN
    LOG_TIME_BACKWARD = "the log time of an entry is before its predecessor's", Severity.ERROR, _CHAIN
    LOG_BASE_WRONG = "a log entry names another checkpoint than the newest", Severity.ERROR, _CHAIN
    LOG_BODY_WRONG = "the content of a log entry is not what its header says", Severity.ERROR, _BUG
    LOG_REQUEST_TWICE = "one request was applied twice", Severity.ERROR, _BUG
    LOG_TAIL_LOST = (
        "something stored is newer than the end of the log: entries at its end are gone",
        Severity.ERROR,
        _RESTORE,
    )
    FENCE_MISSING = "an open entry that keeps stale owners out is missing", Severity.ERROR, _RESTORE
    FENCE_DAMAGED = "an open entry that keeps stale owners out is not the one it should be", Severity.ERROR, _RESTORE
    LOG_ENTRY_LEFT = "a log entry that is no longer needed", Severity.INFORMATION, _COLLECT

    # The manifest.
    MANIFEST_MISSING = "the manifest that the newest checkpoint names is missing", Severity.ERROR, _RESTORE
    MANIFEST_DAMAGED = "the manifest is cut short, altered or unreadable", Severity.ERROR, _RESTORE
    MANIFEST_OTHER = "the manifest is whole, but not the one that the checkpoint names", Severity.ERROR, _RESTORE
    MANIFEST_DISAGREES = "the manifest contradicts its checkpoint or its own name", Severity.ERROR, _BUG
    MANIFEST_FENCES_WRONG = "the manifest's list of open entries is implausible", Severity.ERROR, _BUG
    MANIFEST_PART_UNREADABLE = "columns, schemas or leases of the manifest cannot be read", Severity.ERROR, _BUG
    SESSIONS_WRONG = "what the manifest remembers of requests is implausible", Severity.ERROR, _BUG

    # Segments: folded log entries and request ids.
    SEGMENT_MISSING = "a segment that the manifest names is missing", Severity.ERROR, _RESTORE
    SEGMENT_DAMAGED = "a segment is cut short, altered or unreadable", Severity.ERROR, _RESTORE
    SEGMENT_DISAGREES = "a segment holds other entries than the manifest says", Severity.ERROR, _BUG
    SEGMENT_INDEX_WRONG = "the index of a segment does not lead to all of its documents", Severity.ERROR, _BUG
    SEGMENT_GAP = "between two segments seqs are missing or held twice", Severity.ERROR, _BUG
    REQUEST_IDS_WRONG = "a segment of request ids holds something implausible", Severity.ERROR, _BUG
    HISTORY_FILE_LOST = "the kept history names a data file that nothing else keeps", Severity.ERROR, _BUG

    # Data files.
    DATA_FILE_MISSING = "a data file is missing", Severity.ERROR, _RESTORE
    DATA_FILE_SIZE = "a data file is shorter or longer than the manifest says", Severity.ERROR, _RESTORE
    DATA_FILE_CHECKSUM = "the checksum of a data file differs", Severity.ERROR, _RESTORE
    DATA_FILE_FOOTER = "the footer of a data file is damaged or that of another file", Severity.ERROR, _RESTORE
    DATA_FILE_UNREADABLE = "a page of a data file cannot be decoded", Severity.ERROR, _BUG
    DATA_FILE_ROWS = "a data file holds another number of rows than the manifest says", Severity.ERROR, _BUG
    DATA_FILE_COLUMNS = (
        "a data file lacks a column of the database, or has one of a type we do not write",
        Severity.ERROR,
        _BUG,
    )
    DATA_FILE_STATISTICS = "statistics of a data file are wrong, so queries may skip documents", Severity.ERROR, _BUG
    DATA_FILE_UNSORTED = "a data file that is said to be sorted is not", Severity.ERROR, _BUG
    DATA_FILE_IDS = "ids in a data file are outside of its range, or not of this namespace", Severity.ERROR, _BUG
    DATA_FILE_SEQS = "seqs in a data file are outside of its range", Severity.ERROR, _BUG
    DATA_FILE_VERSIONS = "a row has no version, or one below 1", Severity.ERROR, _BUG
    DATA_FILE_LISTED_TWICE = "the manifest lists a data file twice", Severity.ERROR, _BUG
    RESIDUAL_UNREADABLE = (
        "what typed columns cannot hold of a document is unreadable or undeclared",
        Severity.ERROR,
        _BUG,
    )
    DELETIONS_UNREADABLE = "a deletion vector is unreadable or names rows that do not exist", Severity.ERROR, _BUG
    DELETIONS_STRAY = "a deletion vector of a data file that the manifest does not list", Severity.ERROR, _BUG

    # Documents.
    ID_TWICE = "two live rows are of one document", Severity.ERROR, _LOST
    SEQ_TWICE = "two rows of a file claim the same change", Severity.ERROR, _LOST
    VERSION_BROKEN = "the versions of a document do not count up one by one", Severity.ERROR, _LOST
    VERSION_DIFFERS = "a document is not at the version that its last change gave it", Severity.ERROR, _LOST
    DOCUMENT_LOST = "a document whose last change is in the log has no live row", Severity.ERROR, _LOST
    DOCUMENT_STALE = "a document is in an older state than its last change", Severity.ERROR, _LOST
    DOCUMENT_RESURRECTED = "a document that was removed has a live row", Severity.ERROR, _LOST
    EVENT_MISSING = "a row says it was changed by an event that the kept log does not hold", Severity.ERROR, _LOST

    # What nothing refers to.
    OBJECT_LEFT = "an object that the current state does not refer to", Severity.INFORMATION, _COLLECT
    OBJECT_UNKNOWN = "an object of a name that we never write; it stops collecting", Severity.WARNING, _REMOVE
    NAME_FOREIGN = "something of a foreign name lies among the objects", Severity.WARNING, _REMOVE
    TEMPORARY_FILE = (
        "a temporary file of a write",
        Severity.INFORMATION,
        "The next process that opens the database removes it.",
    )
    UPLOAD_UNFINISHED = "a multipart upload that was never finished", Severity.INFORMATION, _COLLECT
