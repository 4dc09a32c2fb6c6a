"""What decides *when*: due times and the tick that does a deployment's duties.

Times and turns are decided here, from what is stored. Users' code is never imported here, and no step is run here.
"""
