"""The error answers of Azure Files: one table of codes, and the exception that carries one of them.

Statuses and messages are those of the service's two published error tables, or recorded where the
comment says so.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLE: dict[str, tuple[int, str]] = {
    "AuthenticationFailed": (
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        "correctly including the signature.",
    ),
    "CannotDeleteFileOrDirectory": (
        409,
        "An attempt has been made to remove a file or directory that can't be deleted.",
    ),
    "DirectoryNotEmpty": (409, "The specified directory is not empty."),
    "InternalError": (500, "The server encountered an internal error. Please retry the request."),
    "InvalidAuthenticationInfo": (
        401,
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
    ),
    "InvalidFileOrDirectoryPathName": (400, "File or directory path is too long."),
    "InvalidHeaderValue": (400, "The value for one of the HTTP headers is not in the correct format."),
    "InvalidMd5": (
        400,
        "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded.",
    ),
    "InvalidMetadata": (400, "The metadata specified is invalid. It has characters that are not permitted."),
    "InvalidQueryParameterValue": (
        400,
        "Value for one of the query parameters specified in the request URI is invalid.",
    ),
    "InvalidRange": (416, "The range specified is invalid for the current size of the resource."),
    "InvalidResourceName": (400, "The specified resource name contains invalid characters."),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    # Recorded for a file and for a share with one message.
    "LeaseAlreadyPresent": (409, "There is already a lease present."),
    "LeaseIdMismatchWithFileOperation": (412, "The lease ID specified did not match the lease ID for the file."),
    "LeaseIdMismatchWithLeaseOperation": (
        409,
        "The lease ID specified did not match the lease ID for the file or share.",
    ),
    "LeaseIdMismatchWithShareOperation": (412, "The lease ID specified did not match the lease ID for the share."),
    # Recorded for a file.
    "LeaseIdMissing": (412, "There is currently a lease on the file and no lease ID was specified in the request."),
    "LeaseIsBreakingAndCannotBeAcquired": (
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is broken.",
    ),
    "LeaseIsBreakingAndCannotBeChanged": (
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
    ),
    "LeaseIsBrokenAndCannotBeRenewed": (
        409,
        "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
    ),
    "LeaseNotPresentWithFileOperation": (412, "There is currently no lease on the file."),
    "LeaseNotPresentWithLeaseOperation": (409, "There is currently no lease on the file or share."),
    "LeaseNotPresentWithShareOperation": (412, "There is currently no lease on the share."),
    "Md5Mismatch": (
        400,
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    ),
    "MetadataTooLarge": (400, "The metadata specified exceeds the maximum permissible limit (8 KB)."),
    "MissingContentLengthHeader": (411, "Content-Length HTTP header is missing."),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "NoAuthenticationInformation": (
        401,
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
    ),
    "OutOfRangeInput": (400, "One of the request inputs is out of range."),
    "OutOfRangeQueryParameterValue": (
        400,
        "One of the query parameters specified in the request URI is outside the permissible range.",
    ),
    # Recorded.
    "ParentNotFound": (404, "The specified parent path does not exist."),
    "ReadOnlyAttribute": (409, "The specified resource is read-only and cannot be modified at this time."),
    "RequestBodyTooLarge": (413, "The request body is too large and exceeds the maximum permissible limit."),
    "ResourceAlreadyExists": (409, "The specified resource already exists."),
    "ResourceNotFound": (404, "The specified resource does not exist."),
    # Recorded: files-share-already-exists.
    "ShareAlreadyExists": (409, "The specified share already exists."),
    "ShareNotFound": (404, "The specified share does not exist."),
    "SharingViolation": (409, "The specified resource may be in use by an SMB client."),
    "UnsupportedHeader": (400, "One of the HTTP headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (405, "The resource doesn't support specified Http Verb."),
}


class FilesError(Exception):
    """An error answer. `details` become further elements of the error's XML, in order."""

    def __init__(self, code: str, message: str | None = None, *, details: Mapping[str, str] | None = None) -> None:
        status, usual = _TABLE[code]
        super().__init__(f"{status} {code}: {message or usual}")
        self.status = status
        self.code = code
        self.message = message or usual
        self.details = dict(details or {})


def header(name: str, value: str | None) -> FilesError:
    """A header that is missing (`value` None) or that can't be understood."""
    if value is None:
        return FilesError("MissingRequiredHeader", details={"HeaderName": name})
    return FilesError("InvalidHeaderValue", details={"HeaderName": name, "HeaderValue": value})


def query(name: str, value: str) -> FilesError:
    """A query parameter that can't be understood, or that asks for what isn't offered here."""
    return FilesError("InvalidQueryParameterValue", details={"QueryParameterName": name, "QueryParameterValue": value})
