"""The only room that knows the Azure SDK. Everything else sees Azure through `port.Cloud`."""
