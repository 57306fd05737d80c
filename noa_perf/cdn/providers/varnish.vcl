vcl 4.1;

# Written by manage.py cdn_edge_config varnish. Needs Varnish 6.5 or newer with vmod xkey (varnish-modules), and the
# token of purges in the environment of varnishd: @TOKEN@.

import std;
import xkey;

backend default {
    .host = "@HOST@";
    .port = "@PORT@";
}

sub vcl_recv {
    if (req.method == "PURGE" || req.method == "BAN") {
        if (std.getenv("@TOKEN@") == "" || req.http.X-Purge-Token != std.getenv("@TOKEN@")) {
            return (synth(403, "Forbidden"));
        }
        if (req.method == "BAN") {
            # On headers of the object, so that the ban lurker can do it in the background.
            if (std.ban("obj.http.X-Edge-Host == " + req.http.Host + " && obj.http.X-Edge-Url ~ " + req.http.X-Ban-Url)) {
                return (synth(200, "Banned"));
            }
            return (synth(400, "Bad ban"));
        }
        if (req.http.X-Purge-Tags) {
            return (synth(200, "Purged " + xkey.purge(req.http.X-Purge-Tags)));
        }
        if (req.http.X-Soft-Tags) {
            return (synth(200, "Purged softly " + xkey.softpurge(req.http.X-Soft-Tags)));
        }
        return (purge);
    }

    # Brotli by the origin's own forms; Varnish itself knows gzip alone. In a header of our own, for Varnish leaves
    # Accept-Encoding out of Vary.
    unset req.http.X-Edge-Encoding;
    if (req.http.Accept-Encoding ~ "(?i)(^|[\s,])br([\s,;]|$)" && req.http.Accept-Encoding !~ "(?i)(^|[\s,])br\s*;\s*q=0(\.0*)?([\s,]|$)") {
        set req.http.X-Edge-Encoding = "br";
    }

    # Static files are the same for everybody.
    if (req.url ~ "^@STATIC@") {
        unset req.http.Cookie;
        unset req.http.Authorization;
    }
}

sub vcl_backend_fetch {
    if (bereq.http.X-Edge-Encoding) {
        set bereq.http.Accept-Encoding = bereq.http.X-Edge-Encoding + ", gzip";
    }
}

sub vcl_backend_response {
    set beresp.http.X-Edge-Host = bereq.http.Host;
    set beresp.http.X-Edge-Url = bereq.url;
    if (beresp.http.Vary ~ "(?i)accept-encoding") {
        set beresp.http.Vary = beresp.http.Vary + ", X-Edge-Encoding";
    }
    # While something old is served, a failure does not take its place.
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);
    }
    # Whoever does not say how long is not kept, whatever default_ttl is.
    if (!beresp.http.Cache-Control && !beresp.http.Expires) {
        set beresp.uncacheable = true;
        set beresp.ttl = 120s;
        return (deliver);
    }
    # A bucket does not choose among compressed forms: what it sends as it is, is compressed here.
    if (!beresp.http.Content-Encoding && beresp.http.Content-Type ~ "(?i)^(text/|application/(json|xml|wasm|manifest\+json)|image/svg\+xml)") {
        set beresp.do_gzip = true;
    }
    # A file that is missing now may be there in a moment.
    if (bereq.url ~ "^@STATIC@" && beresp.status >= 400) {
        set beresp.ttl = 1s;
        set beresp.grace = 0s;
    }
}

sub vcl_deliver {
    if (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
    set resp.http.Vary = regsub(resp.http.Vary, ",? *X-Edge-Encoding", "");
    if (resp.http.Vary == "") {
        unset resp.http.Vary;
    }
    unset resp.http.X-Edge-Host;
    unset resp.http.X-Edge-Url;
    unset resp.http.xkey;
    # An SVG is a document that may hold scripts: opened by itself it may do nothing.
    if (resp.http.Content-Type ~ "(?i)^image/svg\+xml") {
        set resp.http.Content-Security-Policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
    }
}
