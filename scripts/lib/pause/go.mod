module beanscale/pause

go 1.26
