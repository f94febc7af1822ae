"""Turns data/earthquakes.json of the npm package vega-datasets into earthquakes.ndjson; see README.md."""
import json
import sys
import uuid

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://earthquake.usgs.gov/")

features = json.load(open(sys.argv[1], encoding="utf-8"))["features"]
features.sort(key=lambda feature: (feature["properties"]["time"], feature["id"]))
for feature in features:
    properties = feature["properties"]
    line = {
        "stream": "quakes-" + properties["net"],
        "type": "EarthquakeReported",
        "id": str(uuid.uuid5(NAMESPACE, feature["id"])),
        "data": {"usgsId": feature["id"], **properties, "geometry": feature["geometry"]},
    }
    print(json.dumps(line, separators=(",", ":"), ensure_ascii=False))
