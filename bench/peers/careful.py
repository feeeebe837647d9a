"""A careful boto3 script: full pages, retries, 16 workers, and errors do not stop it."""

import concurrent.futures
import datetime

import boto3
import botocore.config

retries = {"mode": "standard", "max_attempts": 3}
config = botocore.config.Config(max_pool_connections=16, retries=retries)
ssm = boto3.client("ssm", config=config)
cutoff = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=12)
pages = ssm.get_paginator("describe_sessions").paginate(
    State="Active", PaginationConfig={"PageSize": 200}
)
violators = [
    it["SessionId"] for page in pages for it in page["Sessions"] if it["StartDate"] < cutoff
]
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    calls = [pool.submit(ssm.terminate_session, SessionId=it) for it in violators]
for call in calls:
    if error := call.exception():
        print(error)
