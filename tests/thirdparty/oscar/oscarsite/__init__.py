"""A shop on django-oscar, as its documentation sets one up; noa_perf has never seen it."""
