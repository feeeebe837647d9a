"""A simple boto3 script: the paginator, then one call after the other."""

import datetime

import boto3

ssm = boto3.client("ssm")
cutoff = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=12)
for page in ssm.get_paginator("describe_sessions").paginate(State="Active"):
    for session in page["Sessions"]:
        if session["StartDate"] < cutoff:
            ssm.terminate_session(SessionId=session["SessionId"])
